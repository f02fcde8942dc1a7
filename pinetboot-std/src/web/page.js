(() => {
  const main = document.querySelector('main'), live = document.getElementById('live');
  let loads = false, again = false;
  async function load() {
    if (loads) { again = true; return; }
    loads = true;
    try {
      const answer = await fetch(main.dataset.part, {cache: 'no-store'});
      if (answer.ok) main.innerHTML = await answer.text();
    } catch { /* the stream says so */ }
    loads = false;
    if (again) { again = false; load(); }
  }
  const changes = new EventSource('/changes');
  changes.onopen = () => { live.textContent = 'live'; };
  changes.onmessage = load;
  changes.onerror = () => { live.textContent = 'the server does not answer'; };
})();
