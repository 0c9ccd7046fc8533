// Ranks the book's pages for what somebody types. A page answers well where one of its short phrases (title,
// question, symptom, words that a reader would type, headings) says the same, and where its text speaks of it often.
const SearchRanking = (() => {
  // How much a phrase counts, by where it stands.
  const PHRASES = { title: 1, question: 1, words: 1, symptom: 0.9, topic: 0.7, heading: 0.6 };
  const PHRASE_TO_TEXT = 1.5;
  // A word in a phrase weighs in the text's count like so many in a sentence.
  const IN_PHRASE = 4;
  const HALF = 6; // so many weighted occurrences give half of what a word can give
  const LEAST = 0.25; // of the best page's score; what scores less is not shown
  const LONGEST_EXCERPT = 240;

  // Words that say nothing of the subject, in a question or in a complaint.
  const FILLERS = new Set(
    (
      "a all always am an and any are as at be because been being but by can cant could did didnt do does " +
      "doesnt doing dont each every for from get gets getting has hasnt have how i if im in into is isnt it " +
      "its just keep keeps me my no not of on or our should so some such that the their them then there " +
      "these they this those to versus very vs was we were what when where which why will with wont would " +
      "you your"
    ).split(" "),
  );
  const WORD = /\d+(?:\.\d+)?|[\p{L}_][\p{L}\p{N}_]*/gu;

  let stemmer; // Sphinx's, of language_data.js, which is loaded after this file
  const stems = new Map();
  function stem(word) {
    stemmer ??= new Stemmer();
    if (!stems.has(word)) stems.set(word, stemmer.stemWord(word));
    return stems.get(word);
  }

  // Lower case, British, without apostrophes; "back-propagation" is read as "back propagation backpropagation".
  const plain = (text) =>
    text
      .toLowerCase()
      .replace(/['’]/g, "")
      .replace(/([iy])z(?=e|ing|ation)/g, "$1s")
      .replace(/(\p{L}+)[-‐–](\p{L}+)/gu, "$1 $2 $1$2");

  // A function that puts the first of each group of synonyms in place of the others, in plain text.
  function reader(groups) {
    const firsts = new Map(groups.flatMap((group) => group.map((each) => [plain(each), plain(group[0])])));
    if (!firsts.size) return (text) => text;
    const longestFirst = [...firsts.keys()].sort((a, b) => b.length - a.length);
    const any = new RegExp(`\\b(${longestFirst.join("|")})s?\\b`, "g");
    return (text) => text.replace(any, (_, found) => firsts.get(found));
  }

  // One letter more, less, other, or two exchanged; the first one is right.
  const isNearly = (a, b) => {
    if (Math.abs(a.length - b.length) > 1 || a[0] !== b[0]) return false;
    let i = 0;
    while (i < a.length && a[i] === b[i]) i += 1;
    const rests = [[1, 1], [1, 0], [0, 1]].map(([m, n]) => a.slice(i + m) === b.slice(i + n));
    return rests.some(Boolean) || (a[i] === b[i + 1] && a[i + 1] === b[i] && a.slice(i + 2) === b.slice(i + 2));
  };

  class Ranking {
    constructor({ pages, synonyms }) {
      this.unify = reader(synonyms);
      this.spread = new Map(); // in how many sections (a page's phrases are one, too) a term stands
      this.units = 0;
      this.pages = pages.map((page) => this.read(page));
    }

    // The stems of a text, in order.
    terms(text) {
      return (this.unify(plain(text)).match(WORD) ?? []).filter((word) => !FILLERS.has(word)).map(stem);
    }

    read(page) {
      const counts = new Map();
      const add = (term, weight) => counts.set(term, (counts.get(term) ?? 0) + weight);
      const unit = (found) => {
        this.units += 1;
        new Set(found).forEach((term) => this.spread.set(term, (this.spread.get(term) ?? 0) + 1));
      };
      const texts = Object.entries({ ...page, heading: page.sections.map((section) => section.title) })
        .filter(([field]) => field in PHRASES)
        .flatMap(([field, given]) => [given].flat().map((text) => ({ text, weight: PHRASES[field] })));
      const phrases = texts.map(({ text, weight }) => ({ weight, terms: new Set(this.terms(text)) }));
      phrases.forEach((phrase) => phrase.terms.forEach((term) => add(term, IN_PHRASE * phrase.weight)));
      unit(phrases.flatMap((phrase) => [...phrase.terms]));
      const sections = page.sections.map((section) => {
        const found = this.terms(section.text);
        found.forEach((term) => add(term, 1));
        unit(found);
        const heading = new Set(this.terms(section.title));
        return { ...section, heading, terms: new Set([...found, ...heading]) };
      });
      return { ...page, counts, phrases, sections };
    }

    rarity(term) {
      const spread = this.spread.get(term) ?? 0;
      return Math.log(1 + (this.units - spread + 0.5) / (spread + 0.5));
    }

    // The terms of the book that a term of the query may mean, each with how sure that is: itself and longer words
    // that begin like it; where there is none, words that hold it, and then those of nearly the same spelling.
    meanings(term) {
      const known = this.spread.has(term);
      const found = new Map(known ? [[term, 1]] : []);
      const add = (fits, sure) => {
        for (const other of this.spread.keys()) if (other !== term && fits(other)) found.set(other, sure(other));
      };
      const isLong = term.length >= 4;
      if (isLong || (!known && term.length === 3) || /^\d+\./.test(term)) {
        add((other) => other.startsWith(term), (other) => (2 * term.length >= other.length ? 0.7 : 0.4));
      }
      if (!found.size && isLong) add((other) => other.includes(term), () => 0.7);
      if (!found.size && isLong) add((other) => isNearly(term, other), () => 0.6);
      return found;
    }

    // What a query asks for: for each of its terms its meanings and its weight, which is its rarity.
    understand(query) {
      return [...new Set(this.terms(query))]
        .map((term) => ({ term, meanings: this.meanings(term) }))
        .filter(({ meanings }) => meanings.size)
        .map(({ term, meanings }) => {
          const counted = meanings.has(term) ? [term] : [...meanings.keys()];
          return { meanings, weight: Math.max(...counted.map((each) => this.rarity(each))) };
        });
    }

    score(page, wants, total) {
      let text = 0;
      for (const { meanings, weight } of wants) {
        let count = 0;
        for (const [term, sure] of meanings) count += sure * (page.counts.get(term) ?? 0);
        text += (weight * count) / (count + HALF);
      }
      const agreements = page.phrases.map((phrase) => this.agreement(phrase, wants, total));
      return text / total + PHRASE_TO_TEXT * Math.max(...agreements);
    }

    // 1 where a phrase and the query consist of the same words, less where one has more.
    agreement(phrase, wants, total) {
      let shared = 0;
      const used = new Set();
      for (const { meanings, weight } of wants) {
        const [term, sure] = [...meanings].reduce((a, b) => (phrase.terms.has(b[0]) && b[1] > a[1] ? b : a), ["", 0]);
        shared += sure * weight;
        used.add(term);
      }
      if (!shared) return 0;
      let own = 0;
      for (const term of phrase.terms) own += this.rarity(term);
      return (phrase.weight * shared) / Math.sqrt(total * Math.max(own, shared));
    }

    // The pages for a query, best first, each with its best section and an excerpt of it.
    search(query) {
      const wants = this.understand(query);
      const total = wants.reduce((sum, { weight }) => sum + weight, 0);
      if (!total) return [];
      const found = this.pages.map((page) => ({ page, score: this.score(page, wants, total) }));
      found.sort((a, b) => b.score - a.score);
      return found
        .filter(({ score }) => score > 0 && score >= LEAST * found[0].score)
        .map(({ page, score }) => ({ page, score, ...this.excerpt(page, wants) }));
    }

    // How much of what is asked stands in a set of terms.
    share(wants, found) {
      return wants.reduce((sum, { meanings, weight }) => {
        const sure = Math.max(0, ...[...meanings].filter(([term]) => found.has(term)).map(([, value]) => value));
        return sum + sure * weight;
      }, 0);
    }

    // The section that speaks most of what is asked, and of it the sentence that does, with what follows.
    excerpt(page, wants) {
      const value = (section) => this.share(wants, section.terms) + this.share(wants, section.heading);
      const section = page.sections.reduce((best, each) => (value(each) > value(best) ? each : best));
      let shown = page.symptom ?? "";
      let most = 0;
      for (const sentences of section.text.split("\n").map(sentencesOf)) {
        sentences.forEach((sentence, i) => {
          const share = isReadable(sentence) ? this.share(wants, new Set(this.terms(sentence))) : 0;
          if (share > most) [most, shown] = [share, excerptFrom(sentences.slice(i))];
        });
      }
      return { section, excerpt: shown, isAsked: (word) => this.share(wants, new Set(this.terms(word))) > 0 };
    }
  }

  const sentencesOf = (paragraph) => paragraph.split(/(?<=[.?!]["”’)]?)\s+(?=["“‘(]?\p{Lu})/u);

  // Not a cell of a table, nor what holds a formula or leads to one.
  const isReadable = (text) => /^["“‘(]*[\p{Lu}\p{N}][^…]*[.?!]["”’)]*$/u.test(text);

  function excerptFrom([first, ...rest]) {
    if (first.length > LONGEST_EXCERPT) return `${first.slice(0, LONGEST_EXCERPT).replace(/\s+\S*$/, "")} …`;
    let shown = first;
    for (const next of rest) {
      if (shown.length + next.length >= LONGEST_EXCERPT || !isReadable(next)) break;
      shown += ` ${next}`;
    }
    return shown;
  }

  return Ranking;
})();
