// Brings the place where it stands to the top of the page, once for each number.
let latest;

export default function ({ data, parentElement }) {
  if (data.number === latest) return;
  latest = data.number;
  const here = parentElement.getRootNode().host ?? parentElement;
  here.style.scrollMarginTop = "4rem"; // below the page's own bar
  here.scrollIntoView({ block: "start" });
}
