// The console's own script: the live stream, times in the reader's zone, and the keyboard.
(() => {
  "use strict";
  const $ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Times: the page has them in UTC; the reader sees the own zone, whose name is below the page, and UTC in the title.
  const zone = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "medium" });
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const day = new Intl.DateTimeFormat(document.documentElement.lang, { weekday: "short", day: "numeric", month: "short" });
  const times = root => $("time[datetime]", root).forEach(time => {
    const text = time.dataset.day ? day.format(new Date(time.dataset.day)) : zone.format(new Date(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  });
  times(document);
  // A time that is asked for is the reader's: the form takes the minutes of the zone, on that day, with it.
  $("[data-zone]").forEach(place => { place.textContent = name; });
  $("[data-offset]").forEach(offset => {
    const at = document.getElementById(offset.dataset.offset);
    const tell = () => { offset.value = at.value ? new Date(at.value).getTimezoneOffset() : ""; };
    at.addEventListener("input", tell);
  });
  const shown = document.getElementById("zone");
  shown.textContent = `${shown.dataset.text} ${name}`;
  document.cookie = `paceline_zone=${new Date().getTimezoneOffset()}; Path=/console; SameSite=Lax; Max-Age=31536000`;
  // Chosen rows stay chosen when the list is fetched anew.
  const chosen = new Set(), told = document.getElementById("chosen"), boxes = () => $("input[name=id][form]");
  const mark = () => {
    boxes().forEach(box => { box.checked = chosen.has(box.value); });
    if (told) told.textContent = chosen.size ? `${told.dataset.text} ${chosen.size}` : "";
  };
  const choose = box => box.checked ? chosen.add(box.value) : chosen.delete(box.value);
  boxes().forEach(choose);
  mark();
  document.addEventListener("change", ({ target }) => { if (target.matches("input[name=id][form]")) { choose(target); mark(); } });
  document.addEventListener("htmx:after:swap", () => { times(document); mark(); });

  // Live: one stream for a browser. HTTP/1.1 gives six connections to a host, so that a stream in each tab would hang
  // the seventh. Whoever holds the lock reads, and tells the other tabs; without locks (plain HTTP on a host name that
  // is not this machine's) only a tab that is seen has a stream.
  const address = document.body.dataset.live;
  if (address) {
    const lost = document.getElementById("lost");
    const parts = new Map();
    let since = 0;
    const fetchAnew = part => {
      if (document.hidden) { parts.set(part.id, true); return; }
      parts.delete(part.id);
      htmx.trigger(part, "live");
    };
    const changed = topic => $("[data-topic]").forEach(part => {
      const wants = wanted => topic === wanted || wanted.endsWith(":") && topic.startsWith(wanted);
      if (topic === "all" || part.dataset.topic.split(" ").some(wants)) fetchAnew(part);
    });
    const state = fine => {
      if (fine) { since = 0; lost.textContent = ""; return; }
      since ||= Date.now();
      lost.textContent = `${document.body.dataset.lost} (${zone.format(new Date(since))})`;
    };
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) [...parts.keys()].forEach(id => { const part = document.getElementById(id); if (part) fetchAnew(part); });
    });
    const channel = new BroadcastChannel("paceline-console");
    channel.onmessage = ({ data }) => "fine" in data ? state(data.fine) : changed(data.topic);
    const read = () => new Promise(done => {
      const source = new EventSource(address);
      const tell = said => { channel.postMessage(said); "fine" in said ? state(said.fine) : changed(said.topic); };
      source.onopen = () => tell({ fine: true });
      source.onmessage = ({ data }) => tell({ topic: data.split(" ")[0] });
      source.onerror = () => {
        tell({ fine: false });
        // A closed stream is not opened again by the browser: the session may have ended.
        if (source.readyState === EventSource.CLOSED) setTimeout(() => { source.close(); done(); }, 5000);
      };
      addEventListener("pagehide", () => { source.close(); done(); }, { once: true });
      if (!navigator.locks) document.addEventListener("visibilitychange", () => { source.close(); done(); }, { once: true });
    });
    const forever = async () => { for (;;) await read(); };
    if (navigator.locks) navigator.locks.request("paceline-console-live", forever);
    else {
      let reading = false;
      const seen = async () => {
        if (reading || document.hidden) return;
        reading = true;
        while (!document.hidden) await read();
        reading = false;
      };
      document.addEventListener("visibilitychange", seen);
      seen();
    }
  }

  // Menus close by a click elsewhere, and by `Esc`, which leads back to what opened them.
  const menus = () => $("header details[open]");
  document.addEventListener("click", ({ target }) => menus().forEach(menu => { if (!menu.contains(target)) menu.open = false; }));

  // Keyboard: `/` the search, `g` then a letter a page, `j` and `k` through the rows, `Enter` opens, `x` selects, `.` the
  // acts of the row, `u` takes back, `Esc` leaves. They are silent in fields, and can be turned off on the account's page
  // and where they are explained.
  const keys = document.getElementById("keys");
  let on = localStorage.getItem("paceline-keys") !== "off";
  $("[data-keys]").forEach(box => {
    box.checked = on;
    box.addEventListener("change", () => { on = box.checked; localStorage.setItem("paceline-keys", on ? "on" : "off"); });
  });
  let going = false, at = -1;
  const here = () => $("tbody tr").forEach((row, place) => row.classList.toggle("here", place === at));
  document.addEventListener("htmx:after:swap", here);
  const pages = { o: "", b: "/batches", c: "/contacts", n: "/new", a: "/account", j: "/jobs", w: "/workers", s: "/senders" };
  document.addEventListener("keydown", event => {
    const target = event.target, pressed = event.key;
    if (pressed === "Escape") {
      const [menu] = menus();
      if (menu) { menu.open = false; menu.querySelector("summary").focus(); return; }
      if (target.matches("input, select, textarea")) target.blur();
    }
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches("input:not([type=checkbox]), select, textarea")) return;
    if (keys?.open || (!on && pressed !== "?")) return;
    const rows = $("tbody tr"), row = rows[at];
    const move = step => {
      if (!rows.length) return;
      at = Math.max(0, Math.min(rows.length - 1, at + step));
      here();
      (rows[at].querySelector("a.row, a") || rows[at]).focus();
      rows[at].scrollIntoView({ block: "nearest" });
    };
    if (going) {
      going = false;
      if (pressed in pages) location.href = "/console" + pages[pressed];
      return;
    }
    switch (pressed) {
      case "/": { const find = document.getElementById("find"); if (find) { event.preventDefault(); find.focus(); } break; }
      case "g": going = true; break;
      case "j": move(1); break;
      case "k": move(-1); break;
      case "?": keys?.showModal(); break;
      case "x": row?.querySelector("input[name=id]")?.click(); break;
      case ".": {
        // Those of the chosen rows where some are chosen, else those of this row, else the page's.
        const menu = row?.querySelector("[popover]"), all = document.querySelector("#selected button");
        if (chosen.size && all) all.focus();
        else if (menu) { menu.showPopover(); menu.querySelector("button, a").focus(); }
        else (row?.querySelector("td button, td .button") || document.querySelector("main .acts button:not(:disabled), main .acts .button"))?.focus();
        break;
      }
      case "u": document.querySelector(".done button")?.click(); break;
    }
  });
})();
