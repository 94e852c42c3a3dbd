// A person clicks items into a session and sees what the model makes of it. Whatever comes from the server is put into
// the page as text, never as markup.

const SHOWN = 12;
const PAGE = 30;
const TYPING_PAUSE = 150;

const byId = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(share < 0.1 || share > 0.9 ? 1 : 0)} %`;
const nameOf = (entry) => entry.title ?? entry.item;
const nameOfHops = (hop) => ["single clicks", "1 step"][hop] ?? `${hop} steps`;

const state = { session: [], answer: null, hop: null, offset: 0 };

function element(tag, className = "", text = "", children = []) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  made.append(...children);
  return made;
}

function bar(share) {
  const filled = element("span");
  filled.style.width = `${100 * share}%`;
  const made = element("div", "bar", "", [filled]);
  made.setAttribute("aria-hidden", "true");
  return made;
}

function button(className, text, action, label) {
  const made = element("button", className, text);
  made.type = "button";
  if (label) made.setAttribute("aria-label", label);
  made.addEventListener("click", action);
  return made;
}

// New rows in a list; whoever was on a control in it by keyboard stays at that place.
function refill(list, rows) {
  const controls = () => [...list.querySelectorAll("button, input")];
  const place = controls().indexOf(document.activeElement);
  list.replaceChildren(...rows);
  if (place < 0) return;
  const left = controls();
  (left[Math.min(place, left.length - 1)] ?? byId("words")).focus({ preventScroll: true });
}

async function send(path, body) {
  const token = sessionStorage.getItem("token");
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  if (body === undefined) return fetch(path, { headers });
  headers["content-type"] = "application/json";
  return fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
}

// The token is asked for once and kept until the tab is closed.
let entered = null;
function enterToken() {
  entered ??= Promise.resolve(window.prompt("Token of this server")).then((token) => {
    if (token) sessionStorage.setItem("token", token.trim());
  });
  return entered;
}

async function ask(path, body) {
  let response = await send(path, body);
  if (response.status === 401) {
    await enterToken();
    response = await send(path, body);
  }
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(content.error ?? `the server answered ${response.status}`);
  return content;
}

// Answers may overtake one another: only that of the latest question is used. A problem is shown until the next answer.
function latest(question, use, fail = () => {}) {
  let asked = 0;
  return async (...given) => {
    const mine = ++asked;
    try {
      const answer = await question(...given);
      if (mine !== asked) return;
      byId("problem").hidden = true;
      use(answer, ...given);
    } catch (error) {
      if (mine !== asked) return;
      byId("problem").textContent = `No answer: ${error.message}`;
      byId("problem").hidden = false;
      fail();
    }
  };
}

// An item in a list; pressing it appends it to the session.
function choice(entry, figure) {
  const made = button("item", "", () => add(entry));
  made.append(element("span", "name", nameOf(entry)), element("span", "figure", figure));
  made.title = `item ${entry.item}: add to the session`;
  return element("li", "", "", [made]);
}

const search = latest(
  (offset) => {
    const words = new URLSearchParams({ q: byId("words").value, offset, limit: PAGE });
    return ask(`items?${words}`);
  },
  (found, offset) => {
    const entries = found.items.map((entry) => choice(entry, `${entry.clicks} clicks`));
    if (offset === 0) byId("items").replaceChildren();
    byId("items").append(...entries);
    state.offset = offset + entries.length;
    byId("more").hidden = !found.more;
    byId("nothing").hidden = state.offset > 0;
  },
);

const recommend = latest(
  () =>
    ask("recommend", {
      session: state.session.map((entry) => entry.item),
      k: Math.min(SHOWN, state.limits.k),
      exclude_seen: byId("exclude").checked,
      explain: true,
    }),
  (answer) => {
    state.answer = answer;
    showRecommended();
    showSession();
  },
  () => {
    state.answer = null;
    showSession();
  },
);

function showRecommended() {
  const { items, source } = state.answer;
  const byModel = source === "model";
  const figure = ({ score }) => (byModel ? (score?.toFixed(2).replace("-", "\u2212") ?? "") : `${score} clicks`);
  refill(byId("best"), items.map((entry) => choice(entry, figure(entry))));
  byId("status").textContent = byModel
    ? `After ${nameOf(state.session.at(-1))}: best first, with the model's scores.`
    : "The session is empty: these had most clicks in training.";
}

function add(entry) {
  if (state.session.length >= state.limits.clicks) return;
  state.session.push(entry);
  changed();
}

function remove(place) {
  state.session.splice(place, 1);
  // What is known of the clicks does not fit the others.
  state.answer = null;
  changed();
}

function changed() {
  showSession();
  recommend();
}

function showSession() {
  const explanation = state.answer?.explanation;
  if (explanation && !(state.hop < (explanation.hops?.length ?? 0))) state.hop = null;
  const shares = state.hop === null ? explanation?.attention : explanation?.hop_attention[state.hop];
  const clicks = state.session.map((entry, place) => {
    const share = shares?.[place];
    const figure = share === undefined ? "" : share === null ? "too old to count" : percent(share);
    const texts = [element("span", "name", nameOf(entry)), element("span", "figure", figure)];
    const cross = button("plain remove", "×", () => remove(place), `Remove ${nameOf(entry)} from the session`);
    const made = element("li", "click", "", [element("span", "label", "", texts), cross]);
    // The latest click has a bar before its share is known, so that nothing jumps.
    if (shares) made.append(bar(share ?? 0));
    return made;
  });
  refill(byId("clicks"), clicks);
  byId("empty").hidden = state.session.length > 0;
  byId("clear").hidden = state.session.length === 0;
  byId("reasons").hidden = !explanation;
  if (explanation) showReasons(explanation);
}

function showReasons({ hops, repeat }) {
  byId("hops").hidden = !hops;
  const where = state.hop === null ? "" : ` in the receptive field \u201c${nameOfHops(state.hop)}\u201d`;
  byId("attention-note").textContent = `Bars: each click's share of the attention${where}.`;
  const choices = hops ? [null, ...hops.keys()] : [];
  const rows = choices.map((hop) => {
    const radio = element("input");
    Object.assign(radio, { type: "radio", name: "hop", checked: hop === state.hop });
    radio.addEventListener("change", () => {
      state.hop = hop;
      showSession();
    });
    const shown = hop === null ? [] : [bar(hops[hop]), element("span", "figure", percent(hops[hop]))];
    const name = element("span", "", hop === null ? "all together" : nameOfHops(hop));
    return element("label", "hop", "", [radio, name, ...shown]);
  });
  refill(byId("hop-choices"), rows);
  byId("gate").hidden = repeat === null;
  if (repeat === null) return;
  byId("repeat-part").style.width = `${100 * repeat}%`;
  byId("repeat").textContent = `repeats an item: ${percent(repeat)}`;
  byId("explore").textContent = `explores: ${percent(1 - repeat)}`;
}

let typing;
byId("words").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => search(0), TYPING_PAUSE);
});
byId("more").addEventListener("click", () => search(state.offset));
byId("exclude").addEventListener("change", recommend);
byId("clear").addEventListener("click", () => {
  state.session = [];
  state.answer = null;
  changed();
  byId("words").focus();
});

latest(
  () => ask("model"),
  (card) => {
    state.limits = card.limits;
    byId("about").textContent = `${card.model} · ${card.dataset} · ${card.items.toLocaleString("en")} items`;
    search(0);
    recommend();
  },
)();
