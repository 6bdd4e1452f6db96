from maillage.interfaces.sdk import AsyncClient as AsyncClient
from maillage.interfaces.sdk import Client as Client
from maillage.workloads.endpoint import EndpointSpec as Endpoint
from maillage.workloads.job import JobSpec as Job

__version__: str
__all__ = ["AsyncClient", "Client", "Endpoint", "Job"]
