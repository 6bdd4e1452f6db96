"""A site's end of the line. It only dials out, and everything that matters it can read again from disk.

agent = Agent("paris", "http://127.0.0.1:8470", token, LocalEngine(folder / "runs", pools), folder)
await agent.run()
"""

from maillage.control.agent.agent import Agent

__all__ = ["Agent"]
