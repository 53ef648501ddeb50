// Dragging in the calendar: what is dropped on a day starts on that day, at its own hour. It sends the form of its entry, whose
// time field does the same by keys, and the page that comes then can take it back.
(() => {
  "use strict";
  let dragged = null;
  const day = target => target instanceof Element ? target.closest(".week [data-date]") : null;
  const mark = over => document.querySelectorAll(".week [data-date]").forEach(one => one.classList.toggle("over", one === over));
  document.addEventListener("dragstart", event => {
    const entry = event.target instanceof Element ? event.target.closest(".week li[draggable]") : null;
    dragged = entry?.id ?? null;
    if (entry) {
      event.dataTransfer.effectAllowed = "move";
      event.dataTransfer.setData("text/plain", entry.id);
    }
  });
  document.addEventListener("dragover", event => {
    const over = dragged && day(event.target);
    mark(over);
    if (over) event.preventDefault();
  });
  document.addEventListener("dragend", () => { dragged = null; mark(null); });
  document.addEventListener("drop", event => {
    // The list may have been fetched anew meanwhile: the entry is the one of that name.
    const over = day(event.target), entry = dragged && document.getElementById(dragged);
    dragged = null;
    mark(null);
    if (!over || !entry) return;
    event.preventDefault();
    const form = entry.querySelector("form[action$='/move']"), { at, offset } = form.elements;
    if (at.defaultValue.startsWith(over.dataset.date)) return;
    at.value = over.dataset.date + at.defaultValue.slice(10);
    offset.value = new Date(at.value).getTimezoneOffset();
    form.requestSubmit();
  });
})();
