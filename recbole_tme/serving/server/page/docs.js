// The server's own description of itself, /openapi.json, as a page to read. Everything is put in as text.

const byId = (id) => document.getElementById(id);

function element(tag, text = "", children = []) {
  const made = document.createElement(tag);
  made.textContent = text;
  made.append(...children);
  return made;
}

// A schema in one line: its type, its bounds, and what it refers to by name.
function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.type === "array") return `list of ${schema.maxItems ? `at most ${schema.maxItems} ` : ""}${typeOf(schema.items ?? {})}`;
  const bounds = [
    schema.minimum !== undefined && `from ${schema.minimum}`,
    schema.maximum !== undefined && `to ${schema.maximum}`,
    schema.maxLength !== undefined && `up to ${schema.maxLength} characters`,
  ].filter(Boolean);
  return [schema.type ?? "anything", ...bounds].join(" ");
}

function row(name, schema, isRequired) {
  const standard = schema.default === undefined || schema.default === null ? "" : `, ${JSON.stringify(schema.default)} by default`;
  const text = `${typeOf(schema)}${standard}${isRequired ? ", required" : ""}`;
  return element("li", "", [element("strong", name), ` ${text}${schema.description ? `: ${schema.description}` : ""}`]);
}

function fields(schema) {
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties ?? {}).map(([name, one]) => row(name, one, required.has(name)));
  return element("ul", "", rows);
}

function operation(path, method, about) {
  const parts = [element("h2", `${method.toUpperCase()} ${path}`)];
  if (about.description) parts.push(element("p", about.description));
  const parameters = (about.parameters ?? []).map((one) =>
    row(one.name, { description: one.description, ...one.schema }, one.required),
  );
  if (parameters.length) parts.push(element("h3", "Parameters"), element("ul", "", parameters));
  const body = about.requestBody?.content["application/json"].schema;
  if (body) parts.push(element("h3", "Body"), fields(body));
  const answers = Object.entries(about.responses ?? {}).map(([status, answer]) => {
    const schema = Object.values(answer.content ?? {})[0]?.schema;
    const type = schema && (schema.$ref || schema.anyOf) ? ` ${typeOf(schema)}` : "";
    return element("li", "", [element("strong", status), `${type}: ${answer.description}`]);
  });
  parts.push(element("h3", "Answers"), element("ul", "", answers));
  return element("section", "", parts);
}

async function show() {
  const token = sessionStorage.getItem("token");
  const response = await fetch("openapi.json", { headers: token === null ? {} : { authorization: `Bearer ${token}` } });
  if (!response.ok) throw new Error((await response.json()).error);
  const api = await response.json();
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, about]) => operation(path, method, about)),
  );
  const types = Object.entries(api.components?.schemas ?? {}).map(([name, schema]) =>
    element("section", "", [element("h2", name), ...(schema.description ? [element("p", schema.description)] : []), fields(schema)]),
  );
  byId("operations").replaceChildren(...operations, ...types);
}

show().catch((error) => {
  byId("problem").textContent = `No description: ${error.message}`;
  byId("problem").hidden = false;
});
