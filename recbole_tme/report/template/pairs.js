// Two chosen models on the same sessions: how many each wins, and by how much.

const { made } = report;
// Where the classes of a session's difference begin.
const BINS = ["−1", "−.5", "−.2", "−.05", "", "0", ".05", ".2", ".5"];
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
const percent = (part, whole) => `${((100 * part) / whole).toFixed(1)} %`;

function turned([first, second, metric, difference, low, high, p, holm, better, equal, worse, bins]) {
  return [second, first, metric, -difference, -high, -low, p, holm, worse, equal, better, [...bins].reverse()];
}

function tested(p, holm) {
  if (p === null) return "no p value, as a trained model of the two has one seed";
  const shown = (value) => (value < 0.0001 ? "below 0.0001" : value.toFixed(4));
  return `p ${shown(p)}, adjusted for all pairs ${shown(holm)}`;
}

function block(metric, pair, names, kinds) {
  const [, , , difference, low, high, p, holm, better, equal, worse, bins] = pair;
  const sessions = better + equal + worse;
  const bar = made("div", "share");
  bar.setAttribute("aria-hidden", "true");
  [better, equal, worse].forEach((count, i) => {
    const part = bar.appendChild(made("span", i === 1 ? "" : kinds[i / 2]));
    part.style.width = `${(100 * count) / sessions}%`;
  });
  const ends = made("p", "ends", "", [
    made("span", "", `${names[0]} better: ${percent(better, sessions)}`),
    made("span", "quiet", `equal: ${percent(equal, sessions)}`),
    made("span", "", `${names[1]} better: ${percent(worse, sessions)}`),
  ]);
  // The equal sessions would dwarf the others, which are what differs.
  const most = Math.max(1, ...bins.filter((_, i) => i !== 4));
  const bars = bins.map((count, i) => {
    if (i === 4) return null;
    const filled = made("i", i < 4 ? kinds[1] : kinds[0]);
    filled.style.height = `${(60 * count) / most}%`;
    return made("li", "", "", [made("span", "", String(count)), filled, made("span", "", `${BINS[i]} to`)]);
  }).filter(Boolean);
  return made("div", "", "", [
    made("h4", "", metric),
    made("p", "", `${names[0]} − ${names[1]}: ${signed(difference)} points (${signed(low)} to ${signed(high)}); ${tested(p, holm)}.`),
    bar,
    ends,
    made("p", "quiet", `Sessions that differ, by the difference of their ${metric}, from −1 to 1:`),
    made("ul", "bins", "", bars),
  ]);
}

for (const duel of document.querySelectorAll(".duel")) {
  const { metrics, pairs } = JSON.parse(duel.querySelector("script").textContent);
  const choices = [...duel.querySelectorAll("select")];
  const outcome = duel.querySelector(".outcome");
  const show = () => {
    const chosen = choices.map((list) => Number(list.value));
    const options = choices.map((list) => list.selectedOptions[0]);
    const names = options.map((option) => option.textContent.replace(/^\d+ /, ""));
    const kinds = options.map((option) => option.dataset.kind.split(" ")[0]);
    if (chosen[0] === chosen[1]) {
      outcome.replaceChildren(made("p", "", "Choose two different models."));
      return;
    }
    const found = pairs.filter(([first, second]) => chosen.includes(first) && chosen.includes(second));
    const ordered = found.map((pair) => (pair[0] === chosen[0] ? pair : turned(pair)));
    ordered.sort((a, b) => b[2] - a[2]);
    outcome.replaceChildren(...ordered.map((pair) => block(metrics[pair[2]], pair, names, kinds)));
  };
  for (const list of choices) list.addEventListener("change", show);
  duel.hidden = false;
  show();
}
