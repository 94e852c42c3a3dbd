// Pieces of the page. Whatever comes from the server is put in as text, never as markup.

export const byId = (id) => document.getElementById(id);
export const percent = (share) => `${(100 * share).toFixed(share < 0.1 || share > 0.9 ? 1 : 0)} %`;
export const nameOf = (entry) => entry.title ?? entry.item;

export function element(tag, className = "", text = "", children = []) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  made.append(...children);
  return made;
}

export function bar(share) {
  const filled = element("span");
  filled.style.width = `${100 * share}%`;
  const made = element("div", "bar", "", [filled]);
  made.setAttribute("aria-hidden", "true");
  return made;
}

export function button(className, text, action, label) {
  const made = element("button", className, text);
  made.type = "button";
  if (label) made.setAttribute("aria-label", label);
  made.addEventListener("click", action);
  return made;
}

// New rows in a list; whoever was on a control in it by keyboard stays at that place.
export function refill(list, rows) {
  const controls = () => [...list.querySelectorAll("button, input")];
  const place = controls().indexOf(document.activeElement);
  list.replaceChildren(...rows);
  if (place < 0) return;
  const left = controls();
  (left[Math.min(place, left.length - 1)] ?? byId("words")).focus({ preventScroll: true });
}

export function options(list, entries, chosen) {
  list.replaceChildren(
    ...entries.map(([value, text]) => {
      const option = element("option", "", text);
      option.value = value;
      return option;
    }),
  );
  list.value = chosen;
}
