// The search page: reads the query from the address, asks the ranking (search_ranking.js) and shows what it found.
// This file has the name of Sphinx's own script, and stands in its place.
const Search = (() => {
  const element = (name, className, ...children) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...children);
    return made;
  };

  // A text whose words are marked where `isAsked` says so.
  const marked = (text, isAsked) =>
    text
      .split(/([\p{L}\p{N}_'’.-]*[\p{L}\p{N}_])/u)
      .map((part, i) => (i % 2 && isAsked(part) ? element("mark", "", part) : part));

  const link = (address, text) => {
    const made = element("a", "", text);
    made.href = address;
    return made;
  };

  function item({ page, section, excerpt, isAsked }) {
    const address = `${page.name}.html`;
    const shown = element("li", "", link(address, page.sections[0].title));
    if (page.number) shown.append(" ", element("span", "search-place", `${page.number} · ${page.title}`));
    if (excerpt) shown.append(element("p", "context", ...marked(excerpt, isAsked)));
    if (section.anchor) {
      shown.append(element("p", "search-section", "In: ", link(`${address}#${section.anchor}`, section.title)));
    }
    return shown;
  }

  function show(found) {
    let summary = `${found.length} pages were found, the best answer first.`;
    if (found.length === 1) summary = "One page was found.";
    if (found.length === 0) summary = "Nothing was found. Try the symptom in other words, or fewer of them.";
    const status = element("p", "search-summary", summary);
    status.setAttribute("role", "status");
    document.getElementById("search-results").append(status, element("ul", "search", ...found.map(item)));
  }

  function start(index) {
    const query = new URLSearchParams(location.search).get("q")?.trim();
    if (!query) return;
    document.querySelectorAll('input[name="q"]').forEach((field) => (field.value = query));
    show(new SearchRanking(index).search(query));
  }

  return {
    // called by searchindex.js, which Sphinx writes
    setIndex(index) {
      if (document.readyState === "loading") addEventListener("DOMContentLoaded", () => start(index));
      else start(index);
    },
  };
})();
