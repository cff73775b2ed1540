// What happens in the browser alone: filters that show their result at once, players of episodes, and what a visitor says.
// Listeners stand at the document, since elements are made anew whenever a run has something new; what a visitor has focused,
// opened or chosen in them is found again by its name.
(() => {
  const at = (id) => document.getElementById(id);
  const part = (place, of) => (of > 1 ? (100 * place) / (of - 1) : 0);

  // --- frames of an episode, of which a sheet has all

  const draw = (film, frame) => {
    const { columns, rows } = film.dataset;
    film.style.backgroundPosition = `${part(frame % columns, columns)}% ${part(Math.floor(frame / columns), rows)}%`;
  };

  const load = (film) => {
    const sheet = new Image(), { columns, rows } = film.dataset;
    film.dataset.loaded = true;
    film.style.backgroundSize = `${columns * 100}% ${rows * 100}%`;
    sheet.onload = () => {
      film.style.backgroundImage = `url("${sheet.src}")`;
      film.textContent = "";
      if (film.dataset.loop) loop(film);
    };
    sheet.onerror = () => (film.textContent = "The episode cannot be drawn.");
    sheet.src = film.dataset.sheet;
  };

  const loop = (clip) => {
    const last = clip.dataset.loop - 1, still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    let frame = still ? last : 0;
    draw(clip, frame);
    if (still) return;
    const playing = setInterval(() => {
      if (!clip.isConnected) return clearInterval(playing);
      frame = frame >= last ? 0 : frame + 1;
      draw(clip, frame);
    }, 1000 * clip.dataset.seconds);
  };

  // --- the player

  let playing = null;

  const show = (frame) => {
    const data = document.querySelector(".player").dataset, step = frame * data.every;
    draw(at("film"), frame);
    at("clock").textContent = `${(frame * data.seconds).toFixed(1)} s`;
    at("time").setAttribute("aria-valuetext", at("clock").textContent);
    const traces = document.querySelector(".traces"), x = +traces.dataset.left + step * traces.dataset.across;
    at("cursor").setAttribute("x1", x);
    at("cursor").setAttribute("x2", x);
    for (const attempt of document.querySelectorAll(".attempt")) {
      const acts = +attempt.dataset.first <= step && step < +attempt.dataset.last;
      attempt.classList.toggle("acts", acts);
      if (acts) at("told").textContent = attempt.firstElementChild.textContent;
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

  // --- what is said

  const say = (line) => {
    const name = at("name").value;
    try { localStorage.setItem("ludus-name", name); } catch {} // a browser may keep nothing
    at("answer").textContent = "";
    emitEvent("say", { line, name });
  };

  window.ludusAnswered = (answer) => {
    at("answer").textContent = answer.refused || answer.help || "";
    if (!answer.refused) at("line").value = "";
  };

  // --- listeners

  document.addEventListener("input", (event) => event.target.id === "time" && show(+event.target.value));
  document.addEventListener("click", (event) => {
    if (event.target.id === "play") playing ? stop() : play();
    const line = event.target.dataset.say;
    if (line && at("say")) say(line);
    if (event.target.dataset.fill) {
      at("line").value = event.target.dataset.fill;
      at("line").focus();
    }
  });
  document.addEventListener("submit", (event) => {
    if (event.target.id !== "say") return;
    event.preventDefault();
    say(at("line").value);
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.id !== "line" || event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!event.repeat) event.target.form.requestSubmit();
  });
  document.addEventListener("change", (event) => {
    const choose = event.target.closest("#choose");
    if (choose) {
      const boxes = [...choose.querySelectorAll("input")], chosen = boxes.filter((box) => box.checked).length;
      for (const box of boxes) box.disabled = !box.checked && chosen >= choose.dataset.most;
    }
    const form = event.target.closest("form.filter");
    if (!form) return;
    for (const field of form.elements) field.disabled = !field.value; // no empty parameters in the address
    form.submit();
  });

  // --- what is made anew keeps its state

  const nameOf = (element) =>
    element.id || ["data-say", "data-fill", "href", "value"].map((a) => element.getAttribute(a)).find(Boolean) ||
    `${element.tagName} ${element.textContent}`;
  const state = { opened: new Set(), chosen: new Set() };
  let focused = null;

  const keep = (set, name, yes) => (yes ? set.add(name) : set.delete(name));
  const summaryOf = (details) => // rows of a list may say the same
    [nameOf(details.querySelector("summary")), details.closest("tr, article, figure")?.querySelector("a")?.href].join(" ");

  document.addEventListener("toggle", ({ target }) => target.matches?.("details") && target.isConnected &&
    keep(state.opened, summaryOf(target), target.open), true);
  document.addEventListener("change", ({ target }) => target.type === "checkbox" && keep(state.chosen, target.value, target.checked));
  document.addEventListener("focusin", ({ target }) => {
    const group = target.closest("[role=group], nav, tr, article, figure, section");
    focused = { element: target, name: nameOf(target), kind: target.tagName, group: group?.getAttribute("aria-label") };
  });

  const restore = () => {
    for (const details of document.querySelectorAll("details:not([open])"))
      if (state.opened.has(summaryOf(details))) details.open = true;
    for (const box of document.querySelectorAll("#choose input")) if (state.chosen.has(box.value)) box.checked = true;
    if (!focused || focused.element.isConnected || document.activeElement !== document.body) return;
    const same = [...document.querySelectorAll(focused.kind)].find((element) => nameOf(element) === focused.name);
    const near = focused.group && document.querySelector(`[aria-label="${CSS.escape(focused.group)}"] :is(button, a)`);
    (same || near || null)?.focus({ preventScroll: true }); // a button that is gone: the first one in its place
  };

  document.addEventListener("DOMContentLoaded", () => new MutationObserver(restore).observe(document.body, { childList: true, subtree: true }));

  const ready = setInterval(() => {
    for (const film of document.querySelectorAll("[data-sheet]:not([data-loaded])")) load(film);
    if (at("time")) show(0);
    if (at("name")) try { at("name").value = localStorage.getItem("ludus-name") || ""; } catch {}
    if (document.querySelector(".added")) scrollTo(0, document.body.scrollHeight); // the newest messages
    if (document.querySelector(".view")) clearInterval(ready);
  }, 50);
})();
