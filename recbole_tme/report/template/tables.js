// Tables: sorted by a column, copied as CSV, LaTeX or Markdown, saved as CSV.

const { made, button, say } = report;
const DONE = 1500;

const plain = (text) => text.replace(/\s+/g, " ").trim();

// What a cell says, without what only the eye needs: a model's number and tag, the mark before a figure.
function said(cell) {
  const name = cell.querySelector(".chip .name");
  if (name) return plain(name.textContent);
  const copy = cell.cloneNode(true);
  const small = copy.querySelector("small");
  small?.remove();
  copy.querySelector(".sign")?.remove();
  const text = plain(copy.textContent);
  if (!small) return text;
  const below = plain(small.textContent);
  return below.startsWith("±") ? `${text} ${below}` : `${text} (${below})`;
}

const rowsOf = (table) => [table.tHead.rows[0], ...table.tBodies[0].rows].map((row) => [...row.cells].map(said));

// As the program's own tables: what a spreadsheet would take for a formula is quoted.
function asCsv(rows) {
  const guarded = (text) => (/^[=+\-@\t\r]/.test(text) && text !== "-" && Number.isNaN(Number(text)) ? `'${text}` : text);
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return `${rows.map((row) => row.map((text) => quoted(guarded(text))).join(",")).join("\n")}\n`;
}

const TEX = {
  "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "\\textbar{}",
  "±": "$\\pm$", "−": "$-$", "–": "--", "—": "---", "≈": "$\\approx$", "[": "{[}", "]": "{]}",
};
function asLatex(rows, words) {
  const escaped = (text) => text.replace(/[&%$#_{}]|[\\~^<>|±−–—≈[\]]/g, (sign) => TEX[sign] ?? `\\${sign}`);
  const [head, ...body] = rows.map((row) => `${row.map(escaped).join(" & ")} \\\\`);
  const columns = words.map((isWord) => (isWord ? "l" : "r")).join("");
  return [`\\begin{tabular}{${columns}}`, "\\toprule", head, "\\midrule", ...body, "\\bottomrule", "\\end{tabular}", ""].join("\n");
}

function asMarkdown(rows, words) {
  const line = (cells) => `| ${cells.map((text) => text.replace(/[|<>`[\]\\]/g, "\\$&")).join(" | ")} |`;
  const rule = `|${words.map((isWord) => (isWord ? "---" : "---:")).join("|")}|`;
  return `${[line(rows[0]), rule, ...rows.slice(1).map(line)].join("\n")}\n`;
}

const FORMS = { CSV: asCsv, LaTeX: asLatex, Markdown: asMarkdown };

async function copy(text, form, pressed) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A page that is opened from a disk may not be trusted with the clipboard.
    const area = document.body.appendChild(made("textarea", "unseen"));
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
    pressed.focus();
  }
  pressed.textContent = "copied";
  say(`Copied as ${form}`);
  setTimeout(() => { pressed.textContent = form; }, DONE);
}

function save(text, name) {
  const link = made("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = `${name.toLowerCase().replace(/[^a-z0-9@]+/g, "-").replace(/^-|-$/g, "")}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}

function addTools(table) {
  const words = [...table.tHead.rows[0].cells].map((cell) => cell.classList.contains("word"));
  const title = table.dataset.title;
  const copies = Object.entries(FORMS).map(([form, write]) =>
    button(form, (pressed) => copy(write(rowsOf(table), words), form, pressed), `Copy “${title}” as ${form}`),
  );
  const download = button("Save CSV", () => save(asCsv(rowsOf(table)), title), `Save “${title}” as a CSV file`);
  const tools = made("div", "tools", "", [made("span", "", "Copy as"), ...copies, download]);
  (table.closest(".scroll") ?? table).after(tools);
}

// Figures by their size, missing ones last; words by the alphabet.
function keyOf(text) {
  const number = Number.parseFloat(text.replace(/^[^\d+−.-]+/, "").replace("−", "-").replaceAll(",", ""));
  return Number.isNaN(number) ? null : number;
}

function sortBy(table, column, down) {
  const rows = [...table.tBodies[0].rows].map((row, place) => ({ row, place, text: said(row.cells[column]) }));
  const words = table.tHead.rows[0].cells[column].classList.contains("word");
  const order = (a, b) => {
    if (words) return a.text.localeCompare(b.text, "en", { numeric: true });
    const [first, second] = [keyOf(a.text), keyOf(b.text)];
    if (first === null || second === null) return (down ? -1 : 1) * ((first === null) - (second === null));
    return first - second;
  };
  rows.sort((a, b) => (down ? -1 : 1) * order(a, b) || a.place - b.place);
  table.tBodies[0].append(...rows.map(({ row }) => row));
}

function addSorting(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const pressed = button(plain(head.textContent), () => {
      // Figures begin with the largest, words with the first.
      const before = head.getAttribute("aria-sort");
      const down = before === "none" ? !head.classList.contains("word") : before === "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sortBy(table, column, down);
    });
    pressed.className = "sort";
    head.replaceChildren(pressed);
    head.setAttribute("aria-sort", "none");
  });
}

for (const table of document.querySelectorAll("table[data-title]")) {
  const isMatrix = table.classList.contains("matrix");
  if (!isMatrix && table.tBodies[0].rows.length > 1) addSorting(table);
  addTools(table);
}
