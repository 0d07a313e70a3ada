// <kl-softmax>: four logits z, a temperature T and a target p. It shows q = softmax(z/T), the
// entropy of q, both divergences, and the gradient of D(p‖q) in the logits, (q − p)/T.
(() => {
  const NAME = "kl-softmax";
  const P = "#0072B2", Q = "#D55E00", G = "#008F68"; // p is hatched, q and the gradient are filled
  const K = [0, 1, 2, 3];
  const SUB = ["₁", "₂", "₃", "₄"];
  const TARGETS = { 1: [1, 0, 0, 0], 2: [0, 1, 0, 0], 3: [0, 0, 1, 0], 4: [0, 0, 0, 1],
    soft: [0.6, 0.25, 0.1, 0.05] };
  const START = [-1, 1, 0.5, 0];
  let count = 0; // elements so far: makes the id of the hatching unique

  // Everything in log space: subtract the largest logit, keep log q, never take log(q).
  function compute(z, T, p) {
    const u = z.map((v) => v / T), top = Math.max(...u);
    const logZ = top + Math.log(u.reduce((s, v) => s + Math.exp(v - top), 0));
    const logq = u.map((v) => v - logZ), q = logq.map(Math.exp);
    const g = K.map((i) => (q[i] - p[i]) / T);
    const sum = (term) => K.reduce((s, i) => s + term(i), 0);
    return {
      q,
      entropy: sum((i) => -q[i] * logq[i]),
      forward: sum((i) => (p[i] > 0 ? p[i] * (Math.log(p[i]) - logq[i]) : 0)),
      // softmax gives every class some probability: one p = 0 is enough
      reverse: p.includes(0) ? Infinity : sum((i) => q[i] * (logq[i] - Math.log(p[i]))),
      g,
      norm: Math.hypot(...g),
    };
  }

  function fixed(v, digits = 4) {
    if (v === Infinity) return "∞";
    const s = v.toFixed(digits);
    return (Number(s) === 0 ? s.replace("-", "") : s).replace("-", "−"); // no "−0.0000"
  }

  const STYLE = `${NAME} { display: block; margin: .5rem 0;
    form { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: start; }
    form > div { flex: 1 1 300px; min-width: 0; max-width: 440px; }
    fieldset { border: 0; margin: 0; padding: 0; display: flex; flex-wrap: wrap; }
    legend { padding: 0; float: left; margin: 0 .4rem 0 0; font: inherit;
      line-height: 28px; width: auto; }
    label { display: inline-flex; align-items: center; min-height: 28px; margin: 0; }
    fieldset label { margin-right: .4rem; }
    input { accent-color: ${P}; margin: 0 .3rem; height: 24px; }
    input[type="radio"] { width: 18px; margin: 0 .2rem; }
    td label { display: flex; }
    td input { flex: 1; min-width: 0; width: 60px; }
    th { width: 16%; }
    th:first-child { width: 36%; text-align: left !important; }
    th:nth-child(3) { width: 11%; }
    th:last-child { width: 21%; }
    button { font: inherit; color: inherit; background: none; border: 1px solid;
      border-radius: 4px; padding: .2rem .7rem; min-height: 32px; cursor: pointer; margin: .3rem 0; }
    :focus-visible { outline: 3px solid currentColor; outline-offset: 2px; }
    output { font-variant-numeric: tabular-nums; white-space: nowrap; }
    table { border-collapse: collapse; margin: .3rem 0 !important; width: 100%;
      table-layout: fixed !important; font-size: .9rem !important; }
    :is(tr, th, td) { background: none !important; border: 0 !important; color: inherit !important;
      padding: 1px 2px !important; text-align: right !important; font-weight: normal; }
    svg.kl-figure { width: 100%; margin: 0; }
    p { margin: .3rem 0; } }`;

  const radio = ([value, text]) => `<label><input type="radio" name="p" value="${value}"
    ${value === "soft" ? "checked" : ""}>${text}</label>`;
  const row = (i) => `<tr><td><label>z${SUB[i]}<input type="range" name="z${i + 1}" min="-5" max="5"
    step="0.1" value="${START[i]}"></label></td><td><output data-z="${i}" aria-live="off"></output></td>
    <td data-p="${i}"></td><td><output name="q${i + 1}" aria-live="off"></output></td>
    <td><output name="g${i + 1}" aria-live="off"></output></td></tr>`;
  const html = () => `<style>${STYLE}</style><form method="dialog"><div>
    <fieldset><legend>Target p:</legend>${[["1", "class 1"], ["2", "2"], ["3", "3"], ["4", "4"],
      ["soft", "soft"]].map(radio).join("")}</fieldset>
    <label>Temperature T<input type="range" name="T" min="0.1" max="5" step="0.1" value="1"></label>
    <output data-t aria-live="off"></output>
    <table><thead><tr><th scope="col">logit</th><th scope="col">z</th><th scope="col">p</th>
    <th scope="col">q</th><th scope="col">(q − p)/T</th></tr></thead>
    <tbody>${K.map(row).join("")}</tbody></table>
    <button type="button">One step against the gradient</button>
    <button type="button">Reset logits</button></div>
    <div><svg class="kl-figure" role="img" viewBox="0 0 340 212" fill="currentColor"
      aria-label="For each class a hatched bar for p, a filled bar for q, and a signed bar for the gradient; the table has the numbers."></svg>
    <p>Entropy H(q) = <output name="entropy" aria-live="off"></output> nats<br>
    Length of the gradient = <output name="norm" aria-live="off"></output><br>
    D(p‖q) = <output name="forward"></output> nats, D(q‖p) = <output name="reverse"></output> nats</p>
    <p>With respect to z/T the gradient of D(p‖q) is q − p; the chain rule multiplies it by 1/T.</p>
    </div></form>`;

  // Two panels: p and q from 0 to 1, and the gradient around its zero line.
  function picture(id, p, { q, g }) {
    const x0 = 20, wide = 150, mid = 265, half = 66, y = (i) => 26 + 42 * i, bottom = 190;
    const scale = [1, 2, 5, 10].find((s) => Math.max(...g.map(Math.abs)) <= s) || 10;
    const bar = (x, top, w, h, fill, line) => `<rect x="${x}" y="${top}" width="${Math.max(w, 0)}"
      height="${h}" fill="${fill}" stroke="${line}" stroke-width="1.5"/>`;
    const text = (x, top, s, anchor = "middle") =>
      `<text x="${x}" y="${top}" text-anchor="${anchor}" font-size="12.5">${s}</text>`;
    const guide = (x) => `<path d="M${x} 22V${bottom}" stroke="#808080" stroke-opacity=".6"/>`;
    return `<defs><pattern id="${id}" width="5" height="5" patternUnits="userSpaceOnUse"
        patternTransform="rotate(45)"><path d="M0 0V5" stroke="${P}" stroke-width="3"/></pattern></defs>
      ${bar(x0, 4, 14, 10, `url(#${id})`, P)}${text(x0 + 20, 14, "p", "start")}
      ${bar(x0 + 50, 4, 14, 10, Q, Q)}${text(x0 + 70, 14, "q", "start")}
      ${text(mid, 14, "gradient (q − p)/T")}
      ${[0, 0.5, 1].map((t) => guide(x0 + t * wide) + text(x0 + t * wide, 206, t)).join("")}
      ${[-1, 0, 1].map((t) => guide(mid + t * half) + text(mid + t * half, 206, fixed(t * scale, 0))).join("")}
      ${K.map((i) => text(8, y(i) + 21, i + 1) +
        bar(x0, y(i), p[i] * wide, 14, `url(#${id})`, P) +
        bar(x0, y(i) + 17, q[i] * wide, 14, Q, Q) +
        bar(mid + (Math.min(g[i], 0) / scale) * half, y(i) + 8,
          (Math.abs(g[i]) / scale) * half, 15, G, G)).join("")}`;
  }

  class Softmax extends HTMLElement {
    connectedCallback() { // while the page loads, children may still be to come
      if (document.readyState !== "loading") this.build();
      else document.addEventListener("DOMContentLoaded", () => this.build());
    }

    build() {
      if (this.form) return;
      this.innerHTML = html();
      this.form = this.querySelector("form");
      this.hatch = `${NAME}-${++count}`;
      this.z = [...START]; // exact; a slider shows it to one decimal
      this.form.addEventListener("input", (e) => {
        const logit = /^z(\d)$/.exec(e.target.name);
        if (logit) this.z[logit[1] - 1] = Number(e.target.value);
        this.update();
      });
      this.querySelectorAll("button").forEach((button, reset) => button.addEventListener("click", () => {
        this.z = reset ? [...START] : this.z.map((v, i) => v - this.now.g[i]);
        this.update();
      }));
      this.update();
    }

    update() {
      const inputs = this.form.elements, T = Number(inputs.T.value), p = TARGETS[inputs.p.value];
      const now = (this.now = compute(this.z, T, p));
      for (const i of K) {
        const slider = inputs[`z${i + 1}`], z = fixed(this.z[i], 2);
        slider.value = this.z[i];
        slider.setAttribute("aria-valuetext", z);
        this.querySelector(`[data-z="${i}"]`).value = z;
        this.querySelector(`[data-p="${i}"]`).textContent = p[i];
        inputs[`q${i + 1}`].value = fixed(now.q[i]);
        inputs[`g${i + 1}`].value = fixed(now.g[i]);
      }
      this.querySelector("[data-t]").value = T.toFixed(1);
      for (const name of ["entropy", "norm", "forward", "reverse"]) inputs[name].value = fixed(now[name]);
      this.querySelector("svg").innerHTML = picture(this.hatch, p, now);
    }
  }

  if (!customElements.get(NAME)) customElements.define(NAME, Softmax);
  document.querySelectorAll(NAME).forEach((element) => element.build());
})();
