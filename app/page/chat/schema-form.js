/** Fields for a JSON schema: of a flat object or a single value; for all else a field for JSON; without a schema, for text. */
import { h } from "./dom.js";
import { shorten } from "./format.js";
import { visible } from "./visible.js";

const MOST_FIELDS = 30;
const SIMPLE = new Set(["string", "number", "integer", "boolean"]);
let number = 0;

function isSimple(schema) {
  return SIMPLE.has(schema?.type) || (Array.isArray(schema?.enum) && schema.enum.length <= 200);
}

export class SchemaForm {
  #fields = []; // {name, read, isRequired}; one without a name is the whole value

  constructor(schema) {
    this.element = h("div.schema-fields");
    const properties = Object.entries(schema?.properties ?? {});
    if (!schema || !Object.keys(schema).length) this.#add(null, { type: "string" }, { label: "Your answer", isRequired: true });
    else if (isSimple(schema)) this.#add(null, schema, { label: "Your answer", isRequired: true });
    else if (properties.length && properties.length <= MOST_FIELDS && properties.every(([, one]) => isSimple(one))) {
      for (const [name, one] of properties) this.#add(name, one, { label: name, isRequired: (schema.required ?? []).includes(name) });
    } else this.#addJSON(schema);
  }

  /** `{value}`, or `{problem}` in a sentence. */
  read() {
    const value = {};
    for (const { name, label, read, isRequired } of this.#fields) {
      const { found, problem } = read();
      if (problem) return { problem: `${label}: ${problem}` };
      if (found === undefined && isRequired) return { problem: `${label} is missing.` };
      if (name === null) return { value: found };
      if (found !== undefined) value[name] = found;
    }
    return { value };
  }

  #add(name, schema, { label, isRequired }) {
    const shown = visible(shorten(String(schema.title ?? label), 100));
    const [field, read] = fieldOf(schema, shown);
    field.id = `schema-field-${++number}`;
    const about = schema.description ? h("p.faint", { id: `${field.id}-about`, dir: "auto" }, visible(String(schema.description), 500)) : null;
    if (about) field.setAttribute("aria-describedby", about.id);
    if (isRequired && field.type !== "checkbox") field.setAttribute("aria-required", "true");
    const title = h("label", { htmlFor: field.id, dir: "auto" }, shown, isRequired || name === null || field.type === "checkbox" ? null : " (may be empty)");
    this.element.append(field.type === "checkbox" ? h("div.check", {}, field, title) : h("div", {}, title, field), ...(about ? [about] : []));
    this.#fields.push({ name, label: shown, read, isRequired });
  }

  #addJSON(schema) {
    const field = h("textarea", { id: `schema-field-${++number}`, rows: 4, dir: "ltr", spellcheck: false });
    const wanted = h("details", {}, h("summary", {}, "The schema it has to fit"), h("pre.tool-text", { tabIndex: 0, role: "region", "aria-label": "Schema", dir: "ltr" }, visible(JSON.stringify(schema, null, 2))));
    this.element.append(h("label", { htmlFor: field.id }, "Your answer, as JSON"), field, wanted);
    this.#fields.push({ name: null, label: "Your answer", isRequired: true, read: () => readJSON(field.value) });
  }
}

function readJSON(text) {
  if (!text.trim()) return { found: undefined };
  try {
    return { found: JSON.parse(text) };
  } catch (error) {
    return { problem: `this is not JSON (${error.message}).` };
  }
}

/** The field, and how to read it. */
function fieldOf(schema, label) {
  if (Array.isArray(schema.enum)) {
    const options = schema.enum.map((one, index) => h("option", { value: String(index) }, visible(shorten(String(one), 200))));
    const field = h("select", {}, h("option", { value: "" }, "Choose"), options);
    return [field, () => ({ found: field.value === "" ? undefined : schema.enum[Number(field.value)] })];
  }
  if (schema.type === "boolean") {
    const field = h("input", { type: "checkbox", checked: schema.default === true });
    return [field, () => ({ found: field.checked })];
  }
  if (schema.type === "string") {
    const field = h("textarea", { rows: 1, dir: "auto", value: typeof schema.default === "string" ? schema.default : "" });
    return [field, () => ({ found: field.value.trim() || undefined })];
  }
  const field = h("input", { inputMode: "decimal", autocomplete: "off", value: typeof schema.default === "number" ? String(schema.default) : "" });
  return [field, () => readNumber(field.value.trim(), schema, label)];
}

function readNumber(text, schema) {
  if (!text) return { found: undefined };
  const found = Number(text);
  if (!Number.isFinite(found)) return { problem: "this is not a number." };
  if (schema.type === "integer" && !Number.isInteger(found)) return { problem: "this is not a whole number." };
  return { found };
}
