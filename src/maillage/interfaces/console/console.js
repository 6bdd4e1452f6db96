// One stream says that something changed; the changed part of the page is fetched and put in place.
"use strict";
const live = document.getElementById("live");
const pulse = document.getElementById("pulse");
let shown = Number(live.dataset.offset);
let fetching = false;
let again = false;

function tell(state, words) {
  pulse.dataset.state = state;
  pulse.textContent = words;
}

async function refresh() {
  if (fetching) { again = true; return; }
  fetching = true;
  try {
    const answer = await fetch("/console/live", { credentials: "same-origin" });
    if (answer.status === 401) { location.assign("/login"); return; }
    if (answer.ok) live.innerHTML = await answer.text();
  } catch (error) {
    tell("lost", "no answer");
  } finally {
    fetching = false;
    if (again) { again = false; refresh(); }
  }
}

const stream = new EventSource("/api/v1/events");
stream.onopen = () => tell("live", "live");
stream.onerror = () => tell("lost", "reconnecting");
stream.addEventListener("state", (event) => {
  tell("live", "live");
  const offset = Number(event.lastEventId);
  if (offset !== shown) { shown = offset; refresh(); }
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
