// Streamlit's own words -> the page's language. Text only where Streamlit writes it itself: documents stand elsewhere.
const named = (id) => `[data-testid="${id}"]`;
const PLACES = [
  "InputInstructions", "stDataFrame", "stDataFrameColumnFormattingMenu", "stDataFrameColumnMenu",
  "stDataFrameColumnVisibilityMenu", "stDataFrameStatisticsMenu", "stDateInputCalendar", "stDateInputFieldsScroller",
  "stDialog", "stElementToolbar", "stFileUploader", "stMultiSelectDropdown", "stSelectboxVirtualDropdown",
  "stSkipToContent", "stStatusWidget", "stTooltipContent",
].map(named).join();
const OURS = ["stHtml", "stText"].map(named).join(); // a document's title in a dialog
const ATTRIBUTES = ["aria-label", "placeholder", "title"];

// A form such as "{size} per file" -> what takes the values from a text.
function reader(form) {
  const names = [];
  const parts = form.split(/\{(\w+)\}/).map((part, n) => {
    if (n % 2) names.push(part);
    return n % 2 ? "(.+)" : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  });
  const pattern = new RegExp(`^${parts.join("")}$`, "s");
  return (text) => {
    const found = pattern.exec(text);
    return found && Object.fromEntries(names.map((name, n) => [name, found[n + 1]]));
  };
}

let observer; // one for the page

export default function ({ data }) {
  observer?.disconnect();
  const readers = data.words.flatMap(({ forms, wanted }) => forms.map((form) => [reader(form), wanted]));
  const said = new Map(); // texts that were looked up already
  const inWords = (text) => {
    if (!said.has(text)) {
      let result = text;
      for (const [read, wanted] of readers) {
        const values = read(text);
        if (values) {
          result = wanted.replace(/\{(\w+)\}/g, (_, name) => values[name]);
          break;
        }
      }
      if (said.size > 1000) said.clear();
      said.set(text, result);
    }
    return said.get(text);
  };
  const say = (node) => {
    if (node.nodeType === Node.TEXT_NODE) {
      const parent = node.parentElement;
      if (!parent?.closest(PLACES) || parent.closest(OURS)) return;
      const wanted = inWords(node.data);
      if (wanted !== node.data) node.data = wanted;
    } else if (node.nodeType === Node.ELEMENT_NODE) {
      for (const name of ATTRIBUTES) {
        const text = node.getAttribute(name);
        const wanted = text && inWords(text);
        if (wanted !== text) node.setAttribute(name, wanted);
      }
    }
  };
  const sayAll = (root) => {
    say(root);
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) say(walker.currentNode);
  };
  const mine = (observer = new MutationObserver((changes) => {
    for (const { type, target, addedNodes } of changes) {
      if (type === "childList") addedNodes.forEach(sayAll);
      else say(target);
    }
  }));
  sayAll(document.body);
  observer.observe(document.body, {
    subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ATTRIBUTES,
  });
  return () => mine.disconnect();
}
