// Questions to the server: the token, errors, and answers that overtake one another.

import { byId } from "./parts.js";

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

export async function ask(path, body) {
  let response = await send(path, body);
  if (response.status === 401) {
    await enterToken();
    response = await send(path, body);
  }
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(content.error ?? `the server answered ${response.status}`);
  return content;
}

// While an answer is awaited, the page says that what it shows is about to change.
let awaited = 0;
function waiting(change) {
  awaited += change;
  document.querySelector("main").setAttribute("aria-busy", String(awaited > 0));
}

// Only the answer to the latest question is used. A problem is shown until the next answer.
export function latest(question, use, fail = () => {}) {
  let asked = 0;
  return async (...given) => {
    const mine = ++asked;
    waiting(1);
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
    } finally {
      waiting(-1);
    }
  };
}
