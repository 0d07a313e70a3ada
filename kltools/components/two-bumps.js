// <kl-two-bumps m="3" mu="0.5" sigma="2">: drag q = N(mu, sigma²) over p = ½N(−m, 1) + ½N(m, 1).
if (!customElements.get("kl-two-bumps")) {
	const { abs, min, max, exp, log, sqrt, hypot, round } = Math;
	const RANGE = { m: [0, 6, 3], mu: [-7, 7, 0.5], sigma: [0.3, 7, 2] }; // low, high, start
	const H = 0.08; // grid step

	// Log densities, and ∫ a log(a/b) dx over center ± reach.
	const normal = (mu, sigma) => {
		const c = log(sigma) + log(2 * Math.PI) / 2;
		return (x) => -(((x - mu) / sigma) ** 2) / 2 - c;
	};
	const bumps = (m) => {
		const phi = normal(0, 1), c = (m * m) / 2 + log(2);
		return (x) => phi(x) + abs(m * x) + Math.log1p(exp(-2 * abs(m * x))) - c;
	};
	const grid = (center, reach, f) => {
		for (let i = round((center - reach) / H); i * H < center + reach; i++) f(i * H);
	};
	const D = (center, reach, a, b) => {
		let sum = 0;
		grid(center, reach, (x) => (sum += H * exp(a(x)) * (a(x) - b(x))));
		return sum;
	};
	const forward = (m, mu, sigma) => D(0, m + 9, bumps(m), normal(mu, sigma));
	const reverse = (m, mu, sigma) => D(mu, 9 * sigma, normal(mu, sigma), bumps(m));

	// Down D(q‖p) in (mu, log sigma) by Newton steps, with gradient (g, h) and Hessian
	// [[a, b], [b, d]]: short steps along the gradient flow, until inside a bowl.
	const descend = (m, mu, sigma, damping = 40) => {
		for (let n = 0, u = 1, v = 1; n < 2000 && hypot(u, v) > 1e-9; n++) {
			const k = m * sigma, q = normal(mu, sigma);
			let T = 0, S = 0, Z = 0, ZZ = 0; // means under q, where x = mu + sigma z
			grid(mu, 9 * sigma, (x) => {
				const z = (x - mu) / sigma, y = Math.tanh(m * x), w = H * exp(q(x)), e = w * (1 - y * y);
				T += w * y, S += e, Z += z * e, ZZ += z * z * e;
			});
			const g = mu - m * T, h = sigma ** 2 - 1 - k * k * S;
			const a = 1 - m * m * S, b = -m * k * Z, d = 2 * sigma ** 2 - k * k * (S + ZZ);
			const A = a + damping, B = d + damping, det = A * B - b * b;
			u = (B * g - b * h) / det, v = (A * h - b * g) / det;
			mu -= u, sigma *= exp(-v);
			damping = a > 0 && a * d > b * b && hypot(u, v) < 0.05 ? damping / 2 : 40;
		}
		return { m, mu, sigma, value: reverse(m, mu, sigma) };
	};

	// Both branches of optima, followed from m = 6 down; the one on a bump ends at a fold.
	const BROAD = [], BUMP = [];
	for (let m = 6, o = { sigma: 5 }, e = { mu: 6, sigma: 1 }; m > -0.01; m -= 0.05) {
		BROAD.push((o = descend(m, 0, o.sigma, 0)));
		if (e.mu > 1) BUMP.push((e = descend(m, e.mu, e.sigma, 0)));
	}
	const { m: BELOW } = BUMP.pop(); // no more optimum on a bump
	const broadAt = (m) => descend(m, 0, 1 + 0.7 * m);
	const bumpAt = (m) => [m > BELOW + 0.001 && descend(m, m, 1)].find((o) => o.mu > 1);
	const gap = (i) => BUMP[i].value - BROAD[i].value, i = BUMP.findIndex((_, i) => gap(i) > 0);
	const SWITCH = BUMP[i].m + 0.05 * gap(i) / (gap(i) - gap(i - 1)); // m*

	const text = (v, digits = 4) => (+v.toFixed(digits) || 0).toFixed(digits).replace("-", "−");
	const out = (name) => `<output name=${name} aria-live=off></output>`;
	const slider = (name, words, [low, high] = RANGE[name]) => `<label><span>${words}</span>
<input type=range name=${name} min=${low} max=${high} step=.01></label>${out("_" + name)}`;
	const card = (name, formula, from) => `<div>${name} <i>${formula}</i><br>
<b>${out(name)}</b> nats<br>lowest: ${out("low_" + name)}<br>
<button value=${name}>${name} fit${from}</button></div>`;
	const knob = (name, r) => `<g class="knob ${name}"><circle r=18 /><circle r=${r} class=at /></g>`;
	const HTML = `<style>
:host { display: block }
slot { display: none }
.row { display: flex; flex-wrap: wrap; gap: 12px 24px; margin: 8px 0 }
.row > div { flex: 1 9rem }
svg { flex: 4 20rem; width: 100%; align-self: end; user-select: none; fill: none; stroke: #808080 }
svg + svg { flex: 3 15rem }
text { fill: currentColor; stroke: none; font-size: 14px; text-anchor: middle }
i, .i { font: italic 17px serif }
.p, .q, .broad, .bump { stroke-width: 2 }
.p { stroke: currentColor; fill: #808080; fill-opacity: .25 }
.q, .at { stroke: #0072B2 }
.broad { stroke: #008F68 }
.bump { stroke: #D55E00 }
.q, path.bump { stroke-dasharray: 8 4 }
.knob { cursor: ew-resize; touch-action: none; pointer-events: all; stroke: none }
.at { fill: #0072B2 }
.sliders { display: grid; grid-template-columns: auto 1fr 3.5em; gap: 0 12px; align-items: center }
label { display: contents }
output { font-weight: 600; font-variant-numeric: tabular-nums; text-align: right }
b { font-size: 1.6rem }
input { accent-color: #0072B2; height: 32px; min-width: 0 }
button { width: 100%; min-height: 36px; font: inherit; color: inherit; background: none; border: 1px solid; border-radius: 6px }
:focus-visible { outline: 3px solid #0072B2; outline-offset: 2px }
p { min-height: 2.8em; margin: 0 }
[role=status] { position: absolute; clip-path: inset(50%) }
@media print { slot { display: block } section { display: none } }
</style><slot></slot><section>
<div class=row><svg viewBox="0 0 400 250" role=img aria-label="Densities: p, solid; q, dashed"><g></g>
${knob("mu", 8) + knob("sigma", 6).repeat(2)}</svg>
<svg viewBox="0 0 330 250" role=img aria-label="D(q‖p) against m: broad, solid; one bump, dashed"></svg></div>
<div class=sliders>${slider("m", "<i>m</i> bumps at ±m")}${slider("mu", "<i>μ</i> mean of q")}
${slider("sigma", "<i>σ</i> width of q")}</div>
<div class=row>${card("forward", "D(p‖q)", "")}${card("reverse", "D(q‖p)", " from here")}</div>
<p>Local optima of the reverse divergence: ${out("optima")}. The best: ${out("best")}.
Now q is at ${out("where")}.</p><div role=status aria-live=polite></div></section>`;

	const path = (name, points) => `<path class="${name}" d="M${points.join("L")}"/>`;
	const word = (x, y, words, name = "") => `<text x=${x} y=${y} class="${name}">${words}</text>`;
	const ticks = (values, X) => values.map((v) => word(X(v), 229, text(v, 0))).join("");

	const start = (host) => {
		const root = host.attachShadow({ mode: "open" });
		root.innerHTML = HTML;
		const all = (selector) => [...root.querySelectorAll(selector)];
		const [left, right] = all("svg"), ui = root.lastChild, now = {};
		let timer;

		const draw = () => {
			const { m, mu, sigma } = now, p = bumps(m), q = normal(mu, sigma);
			const X = (x) => 200 + 20 * x, Y = (log_y) => 212 - 185 * exp(log_y - max(p(m), q(mu)));
			const curve = (f) => Array.from({ length: 401 }, (_, i) => [i, Y(f(i / 20 - 10))]);
			const ends = [mu - sigma, mu + sigma].map((x) => [X(x), Y(q(x))]);
			left.firstChild.innerHTML = path("p", curve(p)) + path("", [[0, 212], [400, 212]]) +
				path("", ends) + path("q", curve(q)) + ticks([-9, -6, -3, 0, 3, 6, 9], X) +
				word(X(m + 1) + 12, Y(p(m + 1)), "p", "i") +
				word(X(mu) + 18, Y(q(mu)) - 5, "q", "i");
			[[X(mu), Y(q(mu))], ...ends].forEach((xy, i) =>
				left.children[i + 1].setAttribute("transform", `translate(${xy})`));

			const M = (m) => 26 + 49 * m, R = (v) => 212 - 90 * min(v, 2);
			const line = (name, branch) =>
				path(name, branch.filter((o) => o.value < 2.05).map((o) => [M(o.m), R(o.value)]));
			const dot = (name, o) => o?.value < 2.05 ? `<circle class=${name} cx=${M(m)} cy=${R(o.value)} r=5 />` : "";
			right.innerHTML = path("at", [[M(m), 212], [M(m), 32]]) +
				path("", [[M(SWITCH), 212], [M(SWITCH), 32]]) + path("", [[26, 32], [26, 212], [320, 212]]) +
				line("broad", BROAD) + line("bump", BUMP) + ticks([0, 1, 2, 3, 4, 5, 6], M) +
				[0, 1, 2].map((v) => word(14, R(v) + 5, v)).join("") + word(173, 247, "m", "i") +
				word(36, 22, "D(q‖p)", "i") + word(M(SWITCH), 22, "m* = " + text(SWITCH, 2)) +
				word(225, 112, "broad") + word(260, 170, "one bump") +
				dot("broad", now.broad) + dot("bump", now.bump) + dot("at", now) +
				word(M(m) + 14, R(now.value) + 5, now.value < 2.05 ? "q" : "q ↑", "i");
		};

		const say = () => {
			ui.lastChild.textContent = `m ${now._m}, mu ${now._mu}, sigma ${now._sigma}: forward ` +
				`${now.forward}, reverse ${now.reverse} nats. ${all("p")[0].textContent}`;
		};

		const set = (change) => {
			for (const key in RANGE)
				now[key] = min(RANGE[key][1], max(RANGE[key][0], change[key] ?? now[key]));
			const { m, mu, sigma } = now, value = reverse(m, mu, sigma);
			if (now.at != m) Object.assign(now, { at: m, broad: broadAt(m), bump: bumpAt(m) });
			const { broad, bump } = now;
			const best = bump?.value < broad.value ? bump : broad;
			const near = (o) => o && hypot(abs(mu) - abs(o.mu), sigma - o.sigma) < 0.01;
			Object.assign(now, {
				value, reverse: text(value), forward: text(forward(m, mu, sigma)),
				low_reverse: text(best.value), low_forward: text(forward(m, 0, sqrt(1 + m * m))),
				best: best == bump ? "one bump" : "broad", optima: bump ? 3 : 1,
				where: near(broad) ? "the broad one" : near(bump) ? "a one-bump one" : "none of them",
			});
			for (const input of all("input")) {
				input.value = now[input.name];
				input.ariaValueText = now["_" + input.name] = text(now[input.name], 3);
			}
			for (const output of all("output")) output.value = now[output.name];
			draw();
			clearTimeout(timer);
			timer = setTimeout(say, 500);
		};

		ui.oninput = ({ target }) => set({ [target.name]: +target.value });
		ui.onclick = ({ target }) => {
			if (target.value == "forward") set({ mu: 0, sigma: sqrt(1 + now.m ** 2) }); // moments of p
			if (target.value == "reverse") set(descend(now.m, now.mu, now.sigma));
		};
		for (const knob of all(".knob")) {
			const name = knob.classList[1];
			knob.onpointerdown = ({ pointerId }) => knob.setPointerCapture(pointerId);
			knob.onpointermove = ({ pointerId, clientX }) => {
				const { x, width } = left.getBoundingClientRect(), at = (20 * (clientX - x)) / width - 10;
				if (knob.hasPointerCapture(pointerId)) set({ [name]: name == "mu" ? at : abs(at - now.mu) });
			};
		}
		for (const key in RANGE) now[key] = +(host.getAttribute(key) ?? RANGE[key][2]);
		set(now);
		say();
	};

	customElements.define("kl-two-bumps", class extends HTMLElement {
		connectedCallback() {
			this.shadowRoot || start(this);
		}
	});
}
