// The page's question as a program would ask it.

import { button, byId, element } from "./parts.js";

const DONE = 1500;
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function asCurl(address, body, needsToken) {
  const token = needsToken ? " -H 'authorization: Bearer TOKEN'" : "";
  return `curl -s ${address}/recommend -H 'content-type: application/json'${token} \\\n  -d ${quoted(JSON.stringify(body))}`;
}

// JSON is Python but for three words.
function asPython(address, body, needsToken) {
  const written = (value) => (value === true ? "True" : value === false ? "False" : JSON.stringify(value));
  const { session, ...others } = body;
  const given = [`[${session.map(written).join(", ")}]`, ...Object.entries(others).map(([key, value]) => `${key}=${written(value)}`)];
  const token = needsToken ? ', token="TOKEN"' : "";
  return [
    "from recbole_tme.serving.client import Client",
    "",
    `client = Client(${JSON.stringify(address)}${token})`,
    `answer = client.recommend(${given.join(", ")})`,
    'print([entry["item"] for entry in answer["items"]])',
  ].join("\n");
}

async function copy(text, label, pressed) {
  try {
    await navigator.clipboard.writeText(text);
    pressed.textContent = "Copied";
  } catch {
    // Without https or a permission there is no clipboard: the text is selected instead.
    window.getSelection().selectAllChildren(pressed.closest(".snippet").querySelector("pre"));
    pressed.textContent = "Selected";
  }
  setTimeout(() => { pressed.textContent = label; }, DONE);
}

export function showCode(body) {
  const address = new URL(".", location.href).href.replace(/\/$/, "");
  const needsToken = sessionStorage.getItem("token") !== null;
  const snippets = [["curl", asCurl(address, body, needsToken)], ["Python", asPython(address, body, needsToken)]];
  const shown = byId("snippets");
  if (!shown.children.length) {
    for (const [name] of snippets) {
      const code = element("pre");
      code.tabIndex = 0;
      code.setAttribute("aria-label", `${name} request`);
      code.setAttribute("role", "group");
      const label = `Copy as ${name}`;
      const press = button("plain", label, () => copy(code.textContent, label, press));
      shown.append(element("div", "snippet", "", [press, code]));
    }
  }
  snippets.forEach(([, text], i) => { shown.children[i].querySelector("pre").textContent = text; });
}
