// What happens in the browser alone: filters that show their result at once, and the player of an episode.
(() => {
  const at = (id) => document.getElementById(id);
  let playing = null;

  const show = (frame) => {
    const player = document.querySelector(".player"), data = player.dataset;
    const column = frame % data.columns, row = Math.floor(frame / data.columns), step = frame * data.every;
    const part = (place, of) => (of > 1 ? (100 * place) / (of - 1) : 0);
    at("film").style.backgroundPosition = `${part(column, data.columns)}% ${part(row, data.rows)}%`;
    at("clock").textContent = `${(frame * data.seconds).toFixed(1)} s`;
    const traces = document.querySelector(".traces"), x = +traces.dataset.left + step * traces.dataset.across;
    at("cursor").setAttribute("x1", x);
    at("cursor").setAttribute("x2", x);
    for (const command of document.querySelectorAll(".command")) {
      const acts = +command.dataset.first <= step && step < +command.dataset.last;
      command.classList.toggle("acts", acts);
      if (acts) at("told").textContent = command.firstElementChild.textContent;
    }
  };

  const stop = () => {
    clearInterval(playing);
    playing = null;
    at("play").textContent = "▶";
    at("play").setAttribute("aria-label", "Play");
  };

  const play = () => {
    const time = at("time"), seconds = +document.querySelector(".player").dataset.seconds;
    if (+time.value >= +time.max) time.value = 0;
    at("play").textContent = "❚❚";
    at("play").setAttribute("aria-label", "Pause");
    playing = setInterval(() => {
      if (!at("time") || +time.value >= +time.max) return at("play") ? stop() : clearInterval(playing);
      time.value = +time.value + 1;
      show(+time.value);
    }, 1000 * seconds);
  };

  document.addEventListener("input", (event) => event.target.id === "time" && show(+event.target.value));
  document.addEventListener("click", (event) => event.target.id === "play" && (playing ? stop() : play()));
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form.filter");
    if (!form) return;
    for (const field of form.elements) field.disabled = !field.value; // no empty parameters in the address
    form.submit();
  });

  const load = (film) => {
    const sheet = new Image();
    sheet.onload = () => {
      film.style.backgroundImage = `url("${sheet.src}")`;
      film.textContent = "";
    };
    sheet.onerror = () => (film.textContent = "The episode cannot be drawn.");
    sheet.src = film.dataset.sheet;
  };

  const ready = setInterval(() => {
    if (at("film")) load(at("film"));
    if (at("time")) show(0);
    if (document.querySelector(".added")) scrollTo(0, document.body.scrollHeight); // the newest messages
    if (document.querySelector(".view")) clearInterval(ready);
  }, 50);
})();
