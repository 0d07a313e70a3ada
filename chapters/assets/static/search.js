// Ranks the sections of the book for a query.
// klIndex: [chapter, [[title, url, text, names of symbols], …]] for each page.
"use strict";
{
const fold = text => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/[’']/g, "").replace(/[-‐–_]/g, " ");
const words = text => fold(text).match(/[\p{L}\p{N}]+|[^\s\p{L}\p{N}.,;:!?()[\]{}"“”|‖∥/\\=+*<>#$&%@^~`]/gu) ?? [];
// tune, tunes, tuned and tuning meet: a word is looked for by its beginning
const stem = word => word.length > 3 ? word.replace(/(?:ing|ies|ed|es|e|s)$/, "") : word;
// back-propagation is found as backpropagation too
const joined = text => [...new Set(fold(text.match(/\p{L}+(?:-\p{L}+)+/gu)?.join(" ").replaceAll("-", "") ?? "").split(" "))].join(" ");
const escape = s => s.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const finder = word => new RegExp((/^[\p{L}\p{N}]/u.test(word) ? "(?<![\\p{L}\\p{N}])" : "") + escape(word), "gu");

const sections = klIndex.flatMap(([chapter, parts], page) => parts.map(([title, url, text, names], k) => ({
  page, chapter, title, url, text, first: k === 0, raw: text.toLowerCase(), folded: `${fold(`${text} ${names}`)} ${joined(text)}`, foldedTitle: `${fold(title)} ${joined(title)}`,
})));

function score(s, wanted, phrase, exact) {
  let total = 0, titled = 0;
  for (const find of wanted) {
    const inTitle = s.foldedTitle.match(find)?.length ?? 0, inText = s.folded.match(find)?.length ?? 0;
    if (!inTitle && !inText) return 0; // every word has to be there
    titled += inTitle > 0;
    total += (inTitle ? (s.first ? 30 : 12) : 0) + 4 * Math.log1p(inText) / Math.log1p(s.folded.length / 400 + 2);
  }
  const title = fold(s.title).trim();
  if (titled === wanted.length) total += s.first ? 60 : 20;
  if (title === phrase) total += s.first ? 1000 : 300; // a chapter with this very title is what was looked for
  else if (title.startsWith(phrase)) total += s.first ? 200 : 60;
  else if (title.includes(phrase)) total += s.first ? 120 : 40;
  if (wanted.length > 1 && s.folded.includes(phrase)) total += 10;
  if (/[_.]/.test(exact)) total += 150 * Math.log1p(s.raw.split(exact).length - 1); // a name in code: kl_div
  return total;
}

// The text around the first place where a word stands, as [plain, marked, plain, …].
function excerpt(s, wanted) {
  const all = new RegExp(wanted.map(f => `${f.source}[\\p{L}\\p{N}]*`).join("|"), "giu");
  const at = Math.max(0, (s.text.search(all)) - 60), start = at ? s.text.indexOf(" ", at) + 1 : 0;
  const piece = s.text.slice(start, start + 200), out = [];
  let last = 0;
  for (const m of piece.matchAll(all)) { out.push(piece.slice(last, m.index), m[0]); last = m.index + m[0].length; }
  out.push(piece.slice(last) + (start + 200 < s.text.length ? "…" : ""));
  if (start) out[0] = "…" + out[0];
  return out;
}

globalThis.klSearch = query => {
  const list = [...new Set(words(query).map(stem))];
  if (!list.length) return [];
  const wanted = list.map(finder), phrase = fold(query).trim(), exact = query.trim().toLowerCase();
  const hits = sections.map(s => ({s, points: score(s, wanted, phrase, exact)})).filter(h => h.points > 0);
  const spread = {}; // of like sections first the one whose chapter speaks of it in many
  for (const {s} of hits) spread[s.page] = (spread[s.page] ?? 0) + 1;
  return hits.sort((a, b) => b.points - a.points + (Math.log1p(spread[b.s.page]) - Math.log1p(spread[a.s.page])) / 2)
    .map(({s}) => ({title: s.title, chapter: s.chapter, section: !s.first, url: s.url, excerpt: excerpt(s, wanted)}));
};
}
