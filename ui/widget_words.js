// Streamlit's own words -> the page's language, each only in the part of the page that says it; never in a document's.
const named = (...ids) => ids.map((id) => `[data-testid="${id}"]`).join();
const PLACES = {
  upload: named("stFileUploader"),
  enter: named("InputInstructions"),
  options: named("stSelectboxVirtualDropdown", "stMultiSelectDropdown"),
  choice: named("stSelectbox", "stMultiSelect"),
  text: named("stTextInput"),
  number: named("stNumberInput"),
  date: named("stDateInput", "stDateInputCalendar", "stDateInputQuickSelect", "stDateInputQuickSelectPopover"),
  toolbar: named("stElementToolbar", "stTooltipContent", "stCode"),
  table: named("stDataFrame"),
  column: named(
    "stDataFrameColumnMenu", "stDataFrameColumnFormattingMenu", "stDataFrameColumnVisibilityMenu",
    "stDataFrameStatisticsMenu",
  ),
  chat: named("stChatInput", "stChatMessage"),
  feedback: named("stFeedback"),
  page: named(
    "stHeaderActionElements", "stSidebar", "stBaseButton-headerNoPadding", "stExpandSidebarButton", "stSkipToContent",
    "stStatusWidget", "stTooltipHoverTarget",
  ),
  dialog: named("stDialog"),
  error: named("stException"),
};
// What a person or a document named, wherever it stands.
const OURS = `canvas, ${named("stHtml", "stText", "stMarkdownContainer", "stFileChipName", "stMultiSelectTagsContainer")}`;
// But for what Streamlit writes within.
const ITS_OWN = `${PLACES.upload} button, ${PLACES.column}, ${PLACES.toolbar}, ${named("stMultiSelectTagsContainer")} button`;
const ATTRIBUTES = ["aria-label", "placeholder", "title"];
const english = new WeakMap(); // node -> what stood there before, and what stands there now, by attribute
let observer; // one for the page

// A form such as "{size} per file" as what takes the values from a text.
function reader(form) {
  const names = [...form.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  const parts = form.split(/\{\w+\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const pattern = new RegExp(`^${parts.join("(.+)")}$`, "s");
  return (text) => {
    const found = pattern.exec(text);
    return found && Object.fromEntries(names.map((name, n) => [name, found[n + 1]]));
  };
}

export default function ({ data }) {
  observer?.disconnect();
  document.documentElement.lang = data.language;
  const rules = data.words.map(([place, form, wanted]) => ({ place: PLACES[place], read: reader(form), wanted }));
  const known = new Map(); // a text's rules with their values; most texts have none
  const inWords = (text, element) => {
    if (!known.has(text)) {
      if (known.size > 1000) known.clear();
      known.set(text, rules.flatMap((rule) => {
        const values = rule.read(text);
        return values ? [{ ...rule, said: rule.wanted.replace(/\{(\w+)\}/g, (_, name) => values[name]) }] : [];
      }));
    }
    return known.get(text).find(({ place }) => element.closest(place))?.said ?? text;
  };
  const say = (node, name, element, now, write) => {
    const before = english.get(node)?.[name];
    const original = before?.now === now ? before.original : now; // else Streamlit has written anew
    const wanted = inWords(original, element);
    if (wanted === original && !before) return;
    english.set(node, { ...english.get(node), [name]: { original, now: wanted } });
    if (wanted !== now) write(wanted);
  };
  const ours = (element) => element.closest(OURS) && !element.closest(ITS_OWN);
  const visit = (node) => {
    if (node.nodeType === Node.TEXT_NODE) {
      const element = node.parentElement;
      if (element && !ours(element)) say(node, "text", element, node.data, (text) => (node.data = text));
    } else if (node.nodeType === Node.ELEMENT_NODE && !ours(node)) {
      for (const name of ATTRIBUTES) {
        const now = node.getAttribute(name);
        if (now) say(node, name, node, now, (text) => node.setAttribute(name, text));
      }
    }
  };
  const visitAll = (root) => {
    visit(root);
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) visit(walker.currentNode);
  };
  const mine = (observer = new MutationObserver((changes) => {
    for (const { type, target, addedNodes } of changes) {
      if (type === "childList") addedNodes.forEach(visitAll);
      else visit(target);
    }
  }));
  visitAll(document.body);
  mine.observe(document.body, {
    subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ATTRIBUTES,
  });
  return () => mine.disconnect();
}
