// Sessions chosen by how the models did.

const { made, button } = report;

for (const kinds of document.querySelectorAll(".kinds")) {
  const blocks = [...kinds.nextElementSibling.children];
  const tools = made("div", "tools");
  tools.setAttribute("role", "group");
  tools.setAttribute("aria-label", "Which sessions are shown");
  const choose = (kind, pressed) => {
    for (const block of blocks) block.hidden = kind !== "" && block.dataset.kind !== kind;
    for (const one of tools.children) one.setAttribute("aria-pressed", String(one === pressed));
  };
  const choices = [["", `all: ${blocks.length}`], ...[...kinds.children].map((one) => [one.dataset.kind, one.textContent])];
  for (const [kind, text] of choices) {
    const one = tools.appendChild(button(text, (pressed) => choose(kind, pressed)));
    one.setAttribute("aria-pressed", String(kind === ""));
  }
  kinds.replaceWith(tools);
}
