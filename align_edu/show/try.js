// Search pictures with words in a page: WordPiece, BERT and the query, then what a reader sees.
// align_edu/show/report.py puts the text tower, its vocabulary and the embedded pictures into the
// page's JSON. A file that is opened from a disk may fetch nothing, so all is in one file.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const WEIGHTS = floats(DATA.weights);
const PICTURES = DATA.pictures.map(picture => floats(picture.embedding)); // unit vectors (D,)
const VOCABULARY = new Map(Object.entries(DATA.vocabulary));

function floats(base64) {
  const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer); // little-endian, as every browser's machine is
}

// ---- From a text to ids: BERT's uncased WordPiece -------------------------------------------

const CHINESE = new RegExp(
  "[\\u{4E00}-\\u{9FFF}\\u{3400}-\\u{4DBF}\\u{20000}-\\u{2A6DF}\\u{2A700}-\\u{2B73F}" +
  "\\u{2B740}-\\u{2B81F}\\u{2B920}-\\u{2CEAF}\\u{F900}-\\u{FAFF}\\u{2F800}-\\u{2FA1F}]", "gu");

function normalized(text) {
  text = text.replace(/[\t\n\r]/g, " ").replace(/[\0\uFFFD]|\p{C}/gu, "");
  text = text.replace(/\p{White_Space}/gu, " ").replace(CHINESE, " $& ");
  text = text.normalize("NFD").replace(/\p{Mn}/gu, "");
  return [...text].map(letter => letter.toLowerCase()).join(""); // one by one: Σ is always σ
}

function words(text) { // a mark of punctuation is a word
  return normalized(text).match(/[\p{P}$+<=>^`|~]|[^\s\p{P}$+<=>^`|~]+/gu) ?? [];
}

function pieces(word) { // the longest piece first; a word with a part that no piece fits: [UNK]
  const letters = [...word], found = [];
  for (let start = 0; start < letters.length;) {
    let end = letters.length, piece = "";
    for (; end > start; end--) {
      piece = (start ? "##" : "") + letters.slice(start, end).join("");
      if (VOCABULARY.has(piece)) break;
    }
    if (end === start || letters.length > 100) return ["[UNK]"];
    found.push(piece);
    start = end;
  }
  return found;
}

function tokens(text) { // [CLS] pieces [SEP]; a longer text is cut before its [SEP]
  return ["[CLS]", ...words(text).flatMap(pieces).slice(0, DATA.max_length - 2), "[SEP]"];
}

// ---- From ids to a unit vector: BERT and one linear layer -----------------------------------

function weight(name) {
  const [start, ...shape] = DATA.tensors[name];
  return WEIGHTS.subarray(start, start + shape.reduce((a, b) => a * b, 1));
}

function linear(x, name) { // x (L, I) as one array → (L, O)
  const w = weight(`${name}.weight`), b = weight(`${name}.bias`);
  const outs = b.length, ins = w.length / outs, rows = x.length / ins;
  const y = new Float64Array(rows * outs);
  for (let row = 0; row < rows; row++) {
    for (let out = 0; out < outs; out++) {
      let sum = b[out];
      for (let i = 0; i < ins; i++) sum += x[row * ins + i] * w[out * ins + i];
      y[row * outs + out] = sum;
    }
  }
  return y;
}

function norm(x, name) { // LayerNorm of each row
  const scale = weight(`${name}.LayerNorm.weight`), shift = weight(`${name}.LayerNorm.bias`);
  const width = scale.length;
  for (let start = 0; start < x.length; start += width) {
    const row = x.subarray(start, start + width);
    const mean = row.reduce((a, b) => a + b) / width;
    const spread = Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / width + 1e-12);
    for (let i = 0; i < width; i++) row[i] = (row[i] - mean) / spread * scale[i] + shift[i];
  }
  return x;
}

const added = (x, y) => x.map((value, i) => value + y[i]);
const scaled = (x, factor) => x.map(value => value * factor);
const inner = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
const length = x => Math.sqrt(inner(x, x));

function gelu(x) { // with erf as in Abramowitz and Stegun, 7.1.26, whose error is below 1.5e-7
  const z = Math.abs(x) / Math.SQRT2, t = 1 / (1 + 0.3275911 * z);
  const series = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592];
  const erf = 1 - series.reduce((sum, a) => (sum + a) * t, 0) * Math.exp(-z * z);
  return x * (1 + Math.sign(x) * erf) / 2;
}

function attention(x, name) { // each piece takes the values of the pieces that its query fits
  const [q, k, v] = ["query", "key", "value"].map(part => linear(x, `${name}.self.${part}`));
  const width = weight(`${name}.self.query.bias`).length, size = width / DATA.heads;
  const rows = q.length / width, seen = new Float64Array(q.length);
  const part = (y, row, head) => y.subarray(row * width + head * size).subarray(0, size);
  for (let head = 0; head < DATA.heads; head++) {
    for (let row = 0; row < rows; row++) {
      const to = part(seen, row, head), from = Array.from({ length: rows }, (_, other) => other);
      const fits = from.map(other => inner(part(q, row, head), part(k, other, head)));
      softmax(fits, Math.sqrt(size)).forEach((share, other) =>
        part(v, other, head).forEach((value, i) => { to[i] += share * value; }));
    }
  }
  return norm(added(x, linear(seen, `${name}.output.dense`)), `${name}.output`);
}

function encodeText(text) {
  const table = part => weight(`bert.embeddings.${part}_embeddings.weight`);
  const [word, place, type] = ["word", "position", "token_type"].map(table);
  const ids = tokens(text).map(token => VOCABULARY.get(token));
  const width = weight("bert.embeddings.LayerNorm.bias").length;
  let x = new Float64Array(ids.length * width);
  ids.forEach((id, row) => {
    for (let i = 0; i < width; i++) {
      x[row * width + i] = word[id * width + i] + place[row * width + i] + type[i];
    }
  });
  x = norm(x, "bert.embeddings");
  for (let layer = 0; layer < DATA.layers; layer++) {
    const name = `bert.encoder.layer.${layer}`;
    x = attention(x, `${name}.attention`);
    const hidden = linear(x, `${name}.intermediate.dense`).map(gelu);
    x = norm(added(x, linear(hidden, `${name}.output.dense`)), `${name}.output`);
  }
  const y = linear(x.subarray(0, width), "projection"); // [CLS] is the first piece
  return scaled(y, 1 / length(y));
}

const ENCODED = new Map(); // a slider that moves asks for the same texts again

function encoded(text) {
  if (!ENCODED.has(text)) ENCODED.set(text, encodeText(text));
  return ENCODED.get(text);
}

// ---- The query, its scores, and their softmax -----------------------------------------------

function combineQuery(terms) { // [weight, unit vector] pairs → unit vector; null: none, or they cancel
  if (!terms.length) return null;
  const sum = terms.map(([factor, x]) => scaled(Float64Array.from(x), factor)).reduce(added);
  const total = terms.reduce((all, [factor]) => all + Math.abs(factor), 0);
  return length(sum) > 1e-5 * total ? scaled(sum, 1 / length(sum)) : null;
}

function softmax(scores, sigma) {
  const most = Math.max(...scores), exps = scores.map(s => Math.exp((s - most) / sigma));
  const sum = exps.reduce((a, b) => a + b, 0);
  return exps.map(e => e / sum);
}

function search(terms) { // {sign, text} or {sign, picture} → the cosine of each picture, or null
  const weighed = terms.filter(term => term.picture !== undefined || term.text.trim()).map(term =>
    term.picture !== undefined ? [term.sign * DATA.image_weight, PICTURES[term.picture]]
                               : [term.sign * DATA.text_weight, encoded(term.text)]);
  const query = combineQuery(weighed);
  return query && PICTURES.map(picture => inner(query, picture));
}

// ---- What a reader sees ---------------------------------------------------------------------

const at = id => document.getElementById(id);
const SHOWN = 24;
let terms = [{ sign: 1, text: DATA.examples[0] ?? "" }], sigma = DATA.sigma, all = false;

function make(tag, { onclick, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (onclick) element.addEventListener("click", onclick);
  element.append(...children);
  return element;
}

const CARDS = DATA.pictures.map((picture, number) => {
  const take = sign => () => { terms.push({ sign, picture: number }); drawTerms(); };
  return make("li", { tabindex: 0 },
    make("div", { class: "picture" },
      make("img", { src: picture.image, alt: picture.title }),
      make("div", { class: "facts" },
        make("span", { class: "caption" }, picture.title),
        ...Object.entries(picture.facts).map(([fact, value]) =>
          make("span", {}, make("i", {}, `${fact.replaceAll("_", " ")} `), String(value))),
        make("div", { class: "take" },
          make("button", { onclick: take(1), title: "add this picture to the query" }, "+"),
          make("button", { onclick: take(-1), title: "subtract this picture" }, "−")))),
    make("div", { class: "bar" }, make("b")),
    make("div", { class: "numbers" },
      make("span", { class: "share" }), make("span", { class: "cosine" })));
});

function drawTerms() {
  at("terms").replaceChildren(...terms.map((term, number) => {
    const sign = make("button", { class: "sign", title: "add or subtract", onclick: () => {
      term.sign = -term.sign;
      drawTerms();
    } }, term.sign > 0 ? "+" : "−");
    const away = make("button", { class: "away", title: "remove", onclick: () => {
      terms.splice(number, 1);
      drawTerms();
    } }, "×");
    const row = make("div", { class: term.sign > 0 ? "term" : "term minus" }, sign);
    if (term.picture !== undefined) {
      const picture = DATA.pictures[term.picture];
      const image = make("img", { src: picture.image, alt: picture.title });
      row.append(image, make("span", {}, picture.title));
    } else {
      const cut = make("div", { class: "pieces", title: "the word pieces that the model reads" });
      const field = make("input", { type: "text", "aria-label": "words", placeholder: "type words" });
      const show = () => cut.replaceChildren(
        ...tokens(term.text).slice(1, -1).map(piece => make("code", {}, piece)));
      field.value = term.text;
      field.addEventListener("input", () => { term.text = field.value; show(); rank(); });
      show();
      row.append(field, cut);
    }
    row.append(away);
    return row;
  }));
  rank();
}

function rank() {
  const scores = search(terms), order = CARDS.map((_, number) => number);
  const shares = scores && softmax(scores, sigma);
  if (scores) order.sort((a, b) => scores[b] - scores[a]);
  order.forEach((number, place) => {
    const card = CARDS[number];
    card.hidden = !all && place >= SHOWN;
    card.querySelector(".bar b").style.width = shares ? `${100 * shares[number]}%` : "0";
    card.querySelector(".share").textContent = shares ? `${(100 * shares[number]).toFixed(1)} %` : "";
    card.querySelector(".cosine").textContent = scores ? `cos ${scores[number].toFixed(3)}` : "";
  });
  at("gallery").append(...order.map(number => CARDS[number]));
  at("sigma").value = Math.log(sigma);
  at("value").textContent = sigma.toFixed(sigma < 0.1 ? 4 : 2);
  const entropy = shares && -shares.reduce((sum, p) => sum + (p > 0 ? p * Math.log(p) : 0), 0);
  const empty = terms.every(term => term.picture === undefined && !term.text.trim());
  at("spread").textContent = scores
    ? `The first picture gets ${(100 * Math.max(...shares)).toFixed(1)} %. ` +
      `The softmax spreads over about ${Math.exp(entropy).toFixed(1)} of ${CARDS.length} pictures.`
    : empty ? "No query yet: the pictures stand in the order of their files."
            : "The terms cancel out: change one.";
}

function start() {
  for (const [id, sign] of [["plus", 1], ["minus", -1]]) {
    at(id).addEventListener("click", () => {
      terms.push({ sign, text: "" });
      drawTerms();
      [...document.querySelectorAll("#terms input")].at(-1).focus();
    });
  }
  at("sigma").addEventListener("input", () => { sigma = Math.exp(Number(at("sigma").value)); rank(); });
  at("learned").addEventListener("click", () => { sigma = DATA.sigma; rank(); });
  at("more").addEventListener("click", () => {
    all = !all;
    at("more").textContent = all ? "Show the first ones" : "Show all pictures";
    rank();
  });
  at("examples").append(...DATA.examples.map(text => make("button", { onclick: () => {
    terms = [{ sign: 1, text }];
    drawTerms();
  } }, text)));
  const off = DATA.check.map(({ text, embedding }) => {
    const ours = encodeText(text);
    return Math.max(...floats(embedding).map((value, i) => Math.abs(value - ours[i])));
  });
  at("check").textContent = `Checked as the page opened: on ${off.length} texts this page's tower and ` +
    `Python's differ by at most ${Math.max(...off).toExponential(1)} in any component.`;
  drawTerms();
}

start();
