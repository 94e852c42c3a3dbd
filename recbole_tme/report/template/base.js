// What the other parts share. The page is whole without scripts; they add what a reader does with it.

globalThis.report = {
  made(tag, className = "", text = "", children = []) {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = text;
    element.append(...children);
    return element;
  },

  button(text, action, label) {
    const button = report.made("button", "", text);
    button.type = "button";
    if (label) button.setAttribute("aria-label", label);
    button.addEventListener("click", () => action(button));
    return button;
  },

  // Says something to people who do not see the page change.
  say(text) {
    report.live ??= document.body.appendChild(report.made("div", "unseen"));
    report.live.setAttribute("role", "status");
    report.live.textContent = text;
  },
};
