(() => {
  const part = document.getElementById('part'), log = document.getElementById('log'), live = document.getElementById('live');
  if (!part.dataset.part) return;
  let loads = false, again = false;
  async function load() {
    if (loads) { again = true; return; }
    loads = true;
    try {
      const answer = await fetch(part.dataset.part, {cache: 'no-store'});
      if (answer.ok) part.innerHTML = await answer.text();
    } catch { /* the stream says so */ }
    loads = false;
    if (again) { again = false; load(); }
  }
  const end = () => { log.scrollTop = log.scrollHeight; };
  const changes = new EventSource(part.dataset.changes);
  changes.onopen = () => { live.textContent = 'live'; };
  changes.onmessage = load;
  changes.addEventListener('log', event => {
    const follows = log.scrollTop + log.clientHeight > log.scrollHeight - 30;
    log.insertAdjacentHTML('beforeend', event.data);
    while (log.childElementCount > 200) log.firstElementChild.remove();
    if (follows) end();
  });
  changes.onerror = () => { live.textContent = 'the server does not answer'; };
  end();
})();
