// <kl-backprop>: back-propagation on a small graph, one step at a time. It is the chapter's toy with
// hidden units 2 and 3 held fixed: they and the bias add the rest r, ½ log 3, to each logit.
(() => {
const NAME = "kl-backprop";
const L = Math.log(3);
// A name such as W2_21 means layer 2, indices 21.
const W = { W1_11: L, W1_12: -L, b1_1: 0, W2_11: L, W2_21: -L, r2_1: L / 2, r2_2: L / 2 };
const ROWS = "x1 x2 W1_11 W1_12 b1_1 z1_1 a1_1 W2_11 W2_21 r2_1 r2_2 z2_1 z2_2 q1 q2 loss".split(" ");
const BOXES = { x1: [72, 23], x2: [268, 23], z1_1: [170, 99], a1_1: [170, 175], z2_1: [72, 251],
  z2_2: [268, 251], q1: [72, 327], q2: [268, 327], loss: [170, 403] };
const EDGES = ["x1 z1_1 W1_11", "x2 z1_1 W1_12", "z1_1 a1_1", "a1_1 z2_1 W2_11", "a1_1 z2_2 W2_21",
  "z2_1 q1", "z2_1 q2", "z2_2 q1", "z2_2 q2", "q1 loss", "q2 loss"].map((e) => e.split(" "));

// Each step: what it computes, which kept values it reads, the rule. In a rule d(z1_1) is the
// name of a gradient; brackets hold a number: [z1_1] a value, [d z1_1] a gradient.
const TURN = 6; // steps forward; the others go backward
const two = (rule) => [1, 2].map((i) => rule.replaceAll("#", i)).join(", ");
const STEPS = [
  ["z1_1", "", "z1_1 = W1_11·x1 + W1_12·x2 + b1_1 = [W1_11]·[x1] + [W1_12]·[x2] + [b1_1] = [z1_1]"],
  ["a1_1", "", "a1_1 = σ(z1_1) = 1/(1 + exp(−z1_1)) = [a1_1]"],
  ["z2_1", "", "z2_1 = W2_11·a1_1 + r2_1 = [W2_11]·[a1_1] + [r2_1] = [z2_1]"],
  ["z2_2", "", "z2_2 = W2_21·a1_1 + r2_2 = [W2_21]·[a1_1] + [r2_2] = [z2_2]. a1_1 is used twice"],
  ["q1 q2", "", "q1 = exp(z2_1)/(exp(z2_1) + exp(z2_2)) = [q1], q2 = 1 − q1 = [q2]"],
  ["loss", "", "loss = −y1·log q1 − y2·log q2 = −log [right] = [loss]"],
  ["loss", "", "d(loss) = 1. Here the backward pass starts"],
  ["q1 q2", "q1 q2", two("d(q#) = −y#/q# = [d q#]") + ". The kept q is read"],
  ...[1, 2].map((i) => [`z2_${i}`, "q1 q2", `d(z2_${i}) = d(q1)·∂q1/∂z2_${i} + d(q2)·∂q2/∂z2_${i}
    = [z2_${i} q1] + [z2_${i} q2] = [d z2_${i}], which is q${i} − y${i}`]),
  ["W2_11 W2_21 r2_1 r2_2", "a1_1",
    two("d(W2_#1) = d(z2_#)·a1_1 = [d W2_#1]") + "; ∂ℓ/∂r is δ. The kept a1_1 is read"],
  ["a1_1", "", `d(a1_1) = W2_11·d(z2_1) + W2_21·d(z2_2) = [a1_1 z2_1] + [a1_1 z2_2] = [d a1_1].
    a1_1 feeds two nodes: two contributions add up`],
  ["z1_1", "z1_1", "d(z1_1) = d(a1_1)·σ′(z1_1) = [d a1_1]·[slope] = [d z1_1]. The kept z1_1 is read"],
  ["W1_11 W1_12 b1_1", "x1 x2",
    two("d(W1_1#) = d(z1_1)·x# = [d W1_1#]") + "; ∂ℓ/∂b is δ. The kept x is read"],
  ["x1 x2", "", two("d(x#) = W1_1#·d(z1_1) = [d x#]") + ". Done"],
];

function compute(x1, x2, label) {
  const y1 = label === 1 ? 1 : 0, y2 = 1 - y1;
  const z = L * x1 - L * x2, a = 1 / (1 + Math.exp(-z)), u = L * a + L / 2, v = -L * a + L / 2;
  const q1 = 1 / (1 + Math.exp(v - u)), q2 = 1 / (1 + Math.exp(u - v)), right = y1 ? q1 : q2;
  const slope = a * (1 - a), bend = q1 * q2; // σ′(z), and ±∂q/∂z of the softmax
  const n = { ...W, x1, x2, z1_1: z, a1_1: a, z2_1: u, z2_2: v, q1, q2, right, slope,
    loss: -Math.log(right), "d loss": 1 };
  // Back-propagation: each edge, last to first, multiplies by its slope; contributions add up.
  const slopes = [L, -L, slope, L, -L, bend, -bend, -bend, bend, -y1 / q1, -y2 / q2];
  for (let i = EDGES.length - 1; i >= 0; i--) {
    const [from, to, weight] = EDGES[i], d = n[`d ${to}`], part = d * slopes[i];
    n[`${from} ${to}`] = part;
    n[`d ${from}`] = (n[`d ${from}`] ?? 0) + part;
    if (weight) n[`d ${weight}`] = d * n[from];
  }
  for (const v of ["b1_1", "r2_1", "r2_2"]) n["d " + v] = n["d z" + v.slice(1)];
  return n;
}

// four decimals, and no "−0.0000"
const f = (v) => (Math.abs(v) < 5e-5 ? 0 : v).toFixed(4).replace("-", "−");
const sub = (digits) => [...digits].map((c) => "₀₁₂"[c]).join("");
const label = (s) => s.replace(/d\(z(\w+)\)/g, "δ$1").replace(/d\((\w+)\)/g, "∂ℓ/∂$1")
  .replace(/\bloss\b/g, "ℓ")
  .replace(/([zaWbrδ])(\d)_(\d+)/g, (_, v, layer, i) => `${v}${sub(i)}⁽${"⁰¹²"[layer]}⁾`)
  .replace(/([xyq])(\d)/g, (_, v, i) => v + sub(i));
const sentence = (rule, n) => label(rule.replace(/\[(.+?)\]/g, (_, key) => f(n[key])))
  .replace(/([+·] ?)(−[\d.]+)/g, "$1($2)");

const STYLE = `${NAME} { display: block; margin: .5rem 0;
  form { display: flex; flex-wrap: wrap; gap: .2rem 1.5rem; align-items: start; }
  p { flex: 1 0 100%; margin: .2rem 0; line-height: 1.5; }
  [role=status] { min-height: clamp(3em, 180px - 12vw, 6em); }
  label { display: inline-flex; align-items: center; min-height: 28px; margin-right: .5rem; }
  input { accent-color: #0072B2; height: 24px; margin: 0 .3rem; width: 100px; }
  [type=radio] { width: 18px; }
  button { font: inherit; color: inherit; background: none; border: 1px solid; border-radius: 4px; padding: .4rem .7rem; margin-right: .4rem; }
  :focus-visible { outline: 3px solid; outline-offset: 2px; }
  svg.kl-figure { flex: 1 1 300px; max-width: 400px; margin: 0; }
  table { flex: 1 1 220px; max-width: 300px; font-size: .85rem; }
  tr, th, td { background: none !important; padding: 1px 4px !important; text-align: right; font-weight: normal; } }`;
const range = (n) => `<label>${label(n)}<input type="range" name="${n}" min="-2" max="2" step="0.5"
  value="1"></label>`;
const radio = (c, checked) => `<label><input type="radio" name="y" value="${c}" ${checked}>y: class ${c}</label>`;
const row = (n) => `<tr><th>${label(n)}${["value", "grad"].map((kind) =>
  `<td><output name="${kind}-${n}" aria-live="off"></output>`).join("")}`;
const HTML = `<style>${STYLE}</style><form method="dialog"><div>${range("x1")}${range("x2")}</div>
  <div>${radio(1, "")}${radio(2, "checked")}</div>
  <p>${[["Previous", -1], ["Next", 1], ["Restart", -99]].map(([name, by]) =>
    `<button type="button" value="${by}">${name}</button>`).join("")}</p>
  <p role="status" aria-live="polite"></p>
  <svg class="kl-figure" role="img" tabindex="0" viewBox="0 0 340 428" fill="currentColor"
    aria-label="Graph of the nodes in the table; arrow keys go one step."></svg>
  <table><tr><th>node<th>value<th>gradient${ROWS.map(row).join("")}</table>
  <p>Thick: value computed now. Dashed: gradient computed now. Dotted: kept value, read now.
    A δ is the gradient in a z.</p></form>`;

const text = (x, y, s, anchor = "middle") => `<text x="${x}" y="${y}" text-anchor="${anchor}">${s}</text>`;
const paint = (color, width, dash = "") =>
  `fill="none" stroke="${color}" stroke-width="${width}" stroke-dasharray="${dash}"`;
const FORWARD = paint("#0072B2", 3.5), BACKWARD = paint("#D55E00", 3.5, "6 3");
const KEPT = paint("#008F68", 3.5, "2 3"), REST = paint("#808080", 1);

// An arrow between two boxes, turned round where a gradient flows, and the weight beside it.
function edge([from, to, weight], { made, back, n }) {
  const [x0, y0] = BOXES[from], [x1, y1] = BOXES[to], flows = back && made.includes(from);
  const on = flows || made.includes(back ? weight : to);
  const ends = [[x0, y0 + 21], [x1, y1 - 21]], [a, b] = flows ? ends.reverse() : ends;
  const t = Math.atan2(b[1] - a[1], b[0] - a[0]);
  const tip = [2.7, -2.7].map((s) => `M${b}l${8 * Math.cos(t + s)},${8 * Math.sin(t + s)}`).join("");
  const line = `<path d="M${a}L${b}${tip}" ${on ? (back ? BACKWARD : FORWARD) : REST}/>`;
  if (!weight) return line;
  const left = Math.min(x0, x1) < 100, y = x1 === 170 ? y1 - 37 : y0 + 30; // outside of the edge
  const beside = (dy, s) => text(left ? 94 : 246, y + dy, s, left ? "end" : "start");
  return line + beside(0, left ? "log 3" : "−log 3") + (flows ? beside(14, f(n[`${from} ${to}`])) : "");
}

function box(id, { made, read, back, form }) {
  const [x, y] = BOXES[id], value = form[`value-${id}`].value, grad = form[`grad-${id}`].value;
  const look = made.includes(id) ? (back ? BACKWARD : FORWARD) : read.includes(id) ? KEPT : REST;
  return `<rect x="${x - 66}" y="${y - 19}" width="132" height="38" rx="5" ${look}/>` +
    text(x, y - 3, label(id) + (value && ` = ${value}`)) +
    (grad && text(x, y + 13, label(`d(${id}) = `) + grad));
}

class Backprop extends HTMLElement {
  connectedCallback() { // while the page loads, children may still be to come
    if (document.readyState !== "loading") this.build();
    else document.addEventListener("DOMContentLoaded", () => this.build());
  }

  build() {
    if (this.form) return;
    this.innerHTML = HTML;
    this.form = this.querySelector("form");
    this.step = 0;
    this.form.oninput = () => this.update(0);
    this.form.onclick = (e) => { if (e.target.type === "button") this.update(+e.target.value); };
    this.querySelector("svg").onkeydown = (e) => {
      const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[e.key];
      if (!by) return;
      e.preventDefault();
      this.update(by);
    };
    this.update(0);
  }

  update(by) {
    const k = (this.step = Math.min(Math.max(this.step + by, 0), STEPS.length)), back = k > TURN;
    const form = this.form.elements, [made, read, rule] = STEPS[k - 1] ?? ["", ""];
    const n = compute(...["x1", "x2", "y"].map((name) => +form[name].value));
    const last = (steps, id) => steps.findLastIndex(([ids]) => ids.includes(id));
    for (const id of ROWS) {
      form[`value-${id}`].value = k > last(STEPS.slice(0, TURN), id) ? f(n[id]) : "";
      form[`grad-${id}`].value = k > last(STEPS, id) ? f(n[`d ${id}`]) : "";
    }
    const now = { made, read, back, n, form };
    this.querySelector("svg").innerHTML = `<g font-size="12.5">${EDGES.map((e) => edge(e, now)).join("")}${
      Object.keys(BOXES).map((id) => box(id, now)).join("")}</g>`;
    this.querySelector("[role=status]").textContent = k
      ? `Step ${k} of ${STEPS.length}, ${back ? "backward" : "forward"}: ${sentence(rule, n)}.`
      : "Inputs and weights are given. Press Next.";
  }
}

customElements.get(NAME) || customElements.define(NAME, Backprop);
document.querySelectorAll(NAME).forEach((element) => element.build());
})();
