// Charts and matrices: figures under the pointer and by arrow keys, models switched on and off.

const { made, button } = report;

// Shows what a mark says beside it, in a plane; marks are those that are seen, the keys are those of the focused element.
function explore(plane, focused, marksOf, label, neighbour) {
  const tip = plane.appendChild(made("div", "tip"));
  tip.hidden = true;
  tip.setAttribute("role", "status");
  let here = null;
  const leave = () => {
    here?.classList.remove("here");
    here = null;
    tip.hidden = true;
  };
  const show = (mark) => {
    if (mark === here) return;
    leave();
    if (!mark) return;
    here = mark;
    mark.classList.add("here");
    const [name, ...others] = mark.dataset.tip.split("\n");
    tip.replaceChildren(made("b", "", name), others.join(": "));
    tip.hidden = false;
    const box = mark.getBoundingClientRect(), room = plane.getBoundingClientRect();
    const left = box.left + box.width / 2 - room.left - tip.offsetWidth / 2;
    tip.style.left = `${Math.max(0, Math.min(left, room.width - tip.offsetWidth))}px`;
    const above = box.top - room.top - tip.offsetHeight - 6;
    tip.style.top = `${above < 0 ? box.bottom - room.top + 6 : above}px`;
  };
  focused.tabIndex = 0;
  focused.setAttribute("role", "group");
  focused.setAttribute("aria-label", `${label}. Arrow keys go from figure to figure.`);
  plane.addEventListener("pointerleave", leave);
  focused.addEventListener("blur", leave);
  focused.addEventListener("focus", () => { if (focused.matches(":focus-visible")) show(marksOf()[0]); });
  focused.addEventListener("keydown", (event) => {
    if (event.key === "Escape") leave();
    if (!event.key.startsWith("Arrow") || event.target !== focused) return;
    event.preventDefault();
    show(here ? neighbour(marksOf(), here, event.key) ?? here : marksOf()[0]);
    here?.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  return show;
}

const middle = (mark) => {
  const box = mark.getBoundingClientRect();
  return [box.left + box.width / 2, box.top + box.height / 2];
};

// Left and right follow a line; up and down go to the next line's figure at the same place, or the next point.
function alongLines(marks, here, key) {
  const own = marks.filter((mark) => mark.closest(".series") === here.closest(".series"));
  const step = key === "ArrowRight" || key === "ArrowDown" ? 1 : -1;
  if (own.length > 1 && (key === "ArrowLeft" || key === "ArrowRight")) return own[own.indexOf(here) + step];
  const [x, y] = middle(here);
  const others = own.length > 1 ? marks.filter((mark) => Math.abs(middle(mark)[0] - x) < 12) : [...marks];
  const axis = key === "ArrowUp" || key === "ArrowDown" ? 1 : 0;
  others.sort((a, b) => middle(a)[axis] - middle(b)[axis] || marks.indexOf(a) - marks.indexOf(b));
  return others[others.indexOf(here) + step];
}

function nearest(marks, event) {
  let best = null, least = 30 ** 2;
  for (const mark of marks) {
    const [x, y] = middle(mark);
    const away = (x - event.clientX) ** 2 + (y - event.clientY) ** 2;
    if (away < least) [best, least] = [mark, away];
  }
  return best;
}

for (const figure of document.querySelectorAll("figure.chart")) {
  const svg = figure.querySelector("svg");
  const plane = made("div", "plane");
  svg.replaceWith(plane);
  plane.append(svg);
  const marksOf = () => [...svg.querySelectorAll(".series:not(.off) .mark")];
  const show = explore(plane, plane, marksOf, figure.querySelector("figcaption").textContent, alongLines);
  plane.addEventListener("pointermove", (event) => show(nearest(marksOf(), event)));
  plane.addEventListener("pointerdown", (event) => show(nearest(marksOf(), event)));

  const key = figure.querySelector(".key");
  if (!svg.querySelector(".line")) continue;
  key.classList.add("made");
  for (const entry of key.children) {
    const shown = [...svg.querySelectorAll(".series")].filter((one) => one.dataset.model === entry.dataset.model);
    const chip = entry.querySelector(".chip");
    const pressed = button("", () => {
      const off = entry.classList.toggle("off");
      for (const one of shown) one.classList.toggle("off", off);
      pressed.setAttribute("aria-pressed", String(!off));
    });
    pressed.setAttribute("aria-pressed", String(!entry.classList.contains("off")));
    pressed.append(chip);
    entry.append(pressed);
  }
}

for (const table of document.querySelectorAll("table.matrix")) {
  const scroll = table.closest(".scroll");
  const plane = made("div", "plane");
  scroll.replaceWith(plane);
  plane.append(scroll);
  const marksOf = () => [...table.querySelectorAll("[data-tip]")];
  const across = (marks, here, key) => {
    const rows = [...table.tBodies[0].rows];
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[key];
    let row = rows.indexOf(here.parentElement), column = here.cellIndex, found;
    do {
      row += steps[0];
      column += steps[1];
      found = rows[row]?.cells[column];
    } while (found && !found.dataset.tip && column > 0);
    return found?.dataset.tip ? found : null;
  };
  const show = explore(plane, scroll, marksOf, table.dataset.title, across);
  table.addEventListener("pointerover", (event) => show(event.target.closest("[data-tip]")));
}
