// On paper the solutions of the exercises stand at the end of the page, in one section, and not below their exercises.
const moved = [];

const toTheEnd = () => {
  const article = document.querySelector(".bd-article");
  const solutions = article?.querySelectorAll("div.solution") ?? [];
  if (moved.length || !solutions.length) return;
  const end = document.createElement("section");
  end.className = "printed-solutions";
  end.innerHTML = "<h2>Solutions</h2>";
  for (const solution of solutions) {
    const place = document.createComment("a solution");
    solution.replaceWith(place);
    moved.push([place, solution]);
    end.append(solution);
  }
  const references = article.querySelector("section#references");
  if (references) references.before(end);
  else article.append(end);
  moved.push([null, end]);
};

const back = () => {
  for (const [place, node] of moved.splice(0)) {
    if (place) place.replaceWith(node);
    else node.remove();
  }
};

addEventListener("beforeprint", toTheEnd);
addEventListener("afterprint", back);
