// Plots are made by the server. This says what stands where the pointer, or the arrow keys, are.
(() => {
  "use strict";
  const zone = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  const number = new Intl.NumberFormat("en");
  const places = new Map();
  const show = (plot, at) => {
    const lines = [...plot.querySelectorAll("[data-values]")].map(line => [line.dataset.name, line.dataset.values.split(",")]);
    const count = lines[0][1].length;
    at = Math.max(0, Math.min(count - 1, at));
    places.set(plot.id, at);
    const said = lines.map(([name, values]) => `${name} ${values[at] === "" ? "–" : number.format(values[at])}`);
    plot.parentElement.querySelector(".read").textContent =
      [zone.format(new Date(+plot.dataset.from + at * plot.dataset.step)), ...said].join(" · ");
    const mark = plot.querySelector(".at"), x = at * 600 / (count - 1);
    mark.setAttribute("x1", x);
    mark.setAttribute("x2", x);
    plot.classList.add("read-at");
  };
  const leave = plot => {
    places.delete(plot.id);
    plot.classList.remove("read-at");
    plot.parentElement.querySelector(".read").textContent = "";
  };
  const of = event => event.target.closest?.("svg.plot[data-from]");
  document.addEventListener("pointermove", event => {
    const plot = of(event);
    if (!plot) return;
    const box = plot.getBoundingClientRect(), count = plot.querySelector("[data-values]").dataset.values.split(",").length;
    show(plot, Math.round((event.clientX - box.left) / box.width * (count - 1)));
  });
  document.addEventListener("pointerout", event => { const plot = of(event); if (plot && plot !== document.activeElement) leave(plot); });
  document.addEventListener("focusout", event => { const plot = of(event); if (plot) leave(plot); });
  document.addEventListener("keydown", event => {
    const plot = of(event), step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!plot || !step) return;
    event.preventDefault();
    show(plot, (places.get(plot.id) ?? plot.querySelector("[data-values]").dataset.values.split(",").length) + step);
  });
  // What is read stays where it is when the plots are fetched anew.
  document.addEventListener("htmx:after:swap", () => places.forEach((at, id) => {
    const plot = document.getElementById(id);
    if (plot) show(plot, at);
  }));
})();
