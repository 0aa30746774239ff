// The token view: an answer's tokens, coloured, with what is behind each of them. Draws the data of `data.py`, holds no
// words of its own, and asks for nothing on its own: `setTriggerValue` is called only when the person chose something.

const STATES = new WeakMap(); // what the person did, by the element that we draw into: it outlives a redraw

/** Draw into `parentElement`; called again by Streamlit whenever data or theme change. Returns what to do at the end. */
export default function tokenView({ data, parentElement, setTriggerValue }) {
  const state = stateOf(parentElement, data);
  const focused = activeKey(parentElement, state);
  const view = { data, state, choosable: data.choose && Boolean(setTriggerValue), send: setTriggerValue, marker: () => {} };
  view.root = el("div", { kind: "ob-view" });
  fill(view);
  state.root?.remove();
  state.root = view.root;
  parentElement.append(view.root);
  listen(view);
  if (state.pinned !== null) showCard(view, state.pinned);
  if (focused) view.root.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  return () => state.ending?.abort();
}

function stateOf(parent, data) {
  const state = STATES.get(parent) ?? { mode: "probability", focus: 0, folded: new Set() };
  if (state.data !== data) state.pinned = null; // other tokens
  state.data = data;
  state.focus = Math.min(state.focus, Math.max(data.tokens.length - 1, 0));
  state.ending?.abort();
  state.ending = new AbortController();
  STATES.set(parent, state);
  return state;
}

/** What has the focus, by a name that will be there after the redraw too. */
function activeKey(parent, state) {
  const active = parent.getRootNode().activeElement;
  return active && state.root?.contains(active) ? active.dataset.key : undefined;
}

function fill(view) {
  const { data } = view;
  view.flow = el("div", { kind: "ob-tokens", role: "group", "aria-label": data.words.group, dir: "auto" });
  view.spans = data.tokens.map(tokenSpan);
  view.flow.append(...view.spans);
  if (!data.tokens.length) view.flow.append(el("p", { kind: "ob-quiet", text: data.words.empty }));
  view.legend = el("div", { kind: "ob-legend-box" });
  view.card = emptyCard(view);
  view.status = el("p", { kind: "ob-status ob-quiet", role: "status" });
  const heard = el("p", { kind: "ob-hidden", text: data.text, dir: "auto" });
  const parts = [branchPart(view), timelinePart(view), heatPart(view)].filter(Boolean);
  view.root.append(modePicker(view), heard, view.flow, view.card, view.status, view.legend, ...parts);
  colour(view);
}

// --- colours

function modePicker(view) {
  const { data } = view;
  const picker = el("fieldset", { kind: "ob-modes" }, el("legend", { text: data.words.colourBy }));
  for (const mode of data.modes) {
    const input = el("input", { type: "radio", name: "ob-mode", value: mode.id, "data-key": `mode-${mode.id}` });
    input.disabled = mode.note !== null;
    input.checked = mode.id === modeOf(view).id;
    input.addEventListener("change", () => {
      view.state.mode = mode.id;
      colour(view);
    });
    picker.append(el("label", { kind: "ob-mode" }, input, el("span", { text: mode.label })));
  }
  return picker;
}

/** The colouring that the person chose, or the first where that one is not at hand. */
function modeOf(view) {
  const { modes } = view.data;
  return modes.find((mode) => mode.id === view.state.mode && mode.note === null) ?? modes[0];
}

function colour(view) {
  const mode = modeOf(view);
  const shades = Object.fromEntries(mode.legend.map((item) => [item.band, shade(item)]));
  view.data.tokens.forEach((token, n) => {
    const span = view.spans[n];
    inkOf(span).className = `ob-ink ${shades[token.bands[mode.id]] ?? ""}`;
    span.setAttribute("aria-label", `${token.name}, ${token.says[mode.id]}`);
    if (mode.id === "passage" && token.mark) inkOf(span).dataset.mark = token.mark;
    else delete inkOf(span).dataset.mark;
  });
  const notes = view.data.modes.map((other) => other.note).filter(Boolean);
  view.legend.replaceChildren(
    el("ul", { kind: "ob-legend" }, ...mode.legend.map(legendItem)),
    ...[mode.about, ...notes].map((text) => el("p", { kind: "ob-quiet", text })),
  );
}

function shade(item) {
  return `ob-${item.band} ob-sign-${item.sign}`;
}

function legendItem(item) {
  const text = item.mark ? `${item.mark} ${item.label}` : item.label;
  return el("li", {}, el("span", { kind: shade(item), text, dir: "auto" }));
}

// --- tokens

/** A token: its ink, which is coloured, between the blanks and the line break around it, which are not. */
function tokenSpan(token, n) {
  const ink = token.text.trim() || token.text, at = token.text.indexOf(ink);
  const before = n ? token.text.slice(0, at) : "", after = token.text.slice(at + ink.length);
  const names = { role: "button", tabindex: "-1", "aria-pressed": "false", "data-n": n, "data-key": `token-${n}` };
  return el("span", { kind: "ob-token", ...names }, before, el("span", { kind: "ob-ink", text: ink }), after);
}

function inkOf(span) {
  return span.firstElementChild;
}

function listen(view) {
  const { flow, state } = view, { signal } = state.ending;
  if (view.spans.length) view.spans[state.focus].tabIndex = 0;
  const number = (event) => event.target.closest?.("[data-n]")?.dataset.n;
  const on = (name, act) => flow.addEventListener(name, (event) => number(event) && act(Number(number(event)), event));
  on("pointerover", (n) => look(view, n));
  on("focusin", (n) => {
    moveTabStop(view, n);
    look(view, n);
  });
  on("click", (n) => (state.pinned === n ? unpin(view) : pin(view, n)));
  on("keydown", (n, event) => onKey(view, n, event));
  flow.addEventListener("pointerleave", () => lookAway(view));
  flow.addEventListener("focusout", () => lookAway(view));
  view.root.addEventListener("keydown", (event) => event.key === "Escape" && onEscape(view, event));
  document.addEventListener("pointerdown", (event) => !event.composedPath().includes(view.root) && release(view), { signal });
}

function onKey(view, n, event) {
  const steps = { ArrowRight: n + 1, ArrowLeft: n - 1, Home: 0, End: view.spans.length - 1 };
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key in steps) view.spans[steps[event.key]]?.focus();
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") otherLine(view, n, event.key === "ArrowDown")?.focus();
  else if (event.key === "Enter" || event.key === " ") view.state.pinned === n ? unpin(view) : pin(view, n);
  else return;
  event.preventDefault();
}

/** The token nearest to this one on the next line, or the one before. */
function otherLine(view, n, down) {
  const from = placeOf(view.spans[n]), step = down ? 1 : -1;
  let best, line;
  for (let i = n + step; view.spans[i]; i += step) {
    const at = placeOf(view.spans[i]);
    if (Math.abs(at.top - from.top) < from.height / 2) continue;
    line ??= at.top;
    if (Math.abs(at.top - line) > from.height / 2) break;
    const distance = Math.abs(at.left - from.left);
    if (!best || distance < best.distance) best = { span: view.spans[i], distance };
  }
  return best?.span;
}

function moveTabStop(view, n) {
  view.spans[view.state.focus].tabIndex = -1;
  view.spans[n].tabIndex = 0;
  view.state.focus = n;
}

function look(view, n) {
  view.marker(n);
  if (view.state.pinned === null) showCard(view, n);
}

function lookAway(view) {
  view.marker(view.state.pinned);
  if (view.state.pinned === null) hideCard(view);
}

/** Show which tokens a part of a figure is about. */
function light(view, tokens) {
  for (const span of view.flow.querySelectorAll(".ob-lit")) span.classList.remove("ob-lit");
  for (const n of tokens) view.spans[n].classList.add("ob-lit");
  view.marker(tokens.length === 1 ? tokens[0] : view.state.pinned);
}

// --- what the person does

function pin(view, n) {
  release(view);
  view.state.pinned = n;
  view.spans[n].setAttribute("aria-pressed", "true");
  view.status.textContent = "";
  moveTabStop(view, n);
  showCard(view, n);
  view.marker(n);
  uncover(view, view.spans[n]);
}

/** Let go of the pinned token, wherever the focus is. */
function release(view) {
  if (view.state.pinned !== null) view.spans[view.state.pinned].setAttribute("aria-pressed", "false");
  view.state.pinned = null;
  hideCard(view);
  view.marker(null);
}

/** Let go of it and go back to it. */
function unpin(view) {
  const n = view.state.pinned;
  view.spans[n].focus({ preventScroll: true });
  release(view);
}

function onEscape(view, event) {
  if (view.card.hidden) return;
  event.stopPropagation(); // a dialog around the view stays open
  if (view.state.pinned === null) hideCard(view);
  else unpin(view);
}

function chooseAlternative(view, position, token) {
  unpin(view);
  view.status.textContent = view.data.words.writing;
  view.send("choice", { kind: "branch", position, token_id: token });
}

function branchPart(view) {
  const { branches, words } = view.data;
  if (branches.length < 2) return null;
  const list = el("ol", { kind: "ob-branches" }, ...branches.map((branch, n) => branchItem(view, branch, n)));
  return folding(view, "branches", words.branches, list);
}

function branchItem(view, branch, n) {
  const { words } = view.data;
  const button = el("button", { kind: "ob-branch", type: "button", "data-key": `branch-${n}`, "aria-current": branch.shown ? "true" : null });
  const text = el("span", { kind: "ob-branch-text", dir: "auto", text: branch.before });
  if (branch.rest) text.append(el("b", { text: branch.rest }));
  button.append(
    text,
    el("span", { kind: "ob-quiet", text: branch.shown ? `${branch.total} · ${words.shown}` : branch.total }),
  );
  button.addEventListener("click", () => branch.shown || view.send("choice", { kind: "show", position: n, token_id: null }));
  return el("li", {}, button);
}
