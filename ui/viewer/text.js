// A document's text with a place in it. What documents say is only ever set as text.
export default function ({ data, parentElement }) {
  const box = parentElement.querySelector(".text");
  const [before, after] = box.querySelectorAll("span");
  const mark = box.querySelector("mark");
  box.setAttribute("aria-label", data.label);
  const isNew = mark.textContent !== data.place || before.textContent !== data.before;
  before.textContent = data.before;
  mark.textContent = data.place;
  after.textContent = data.after;
  if (isNew) {
    box.scrollTop = data.place ? mark.offsetTop - box.clientHeight / 4 : 0; // a person's own scrolling stays
  }
}
