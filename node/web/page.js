"use strict";
// The page only reads: it asks for the node's state once a second and shows it.
const period = 1000, kept = 60;
const series = new Map(); // by histogram: counts and rates of the last minute
let paused = false, failures = 0;

const $ = id => document.getElementById(id);
const text = (tag, content, cls) => {
  const e = document.createElement(tag);
  e.textContent = content;
  if (cls) e.className = cls;
  return e;
};
const row = cells => {
  const tr = document.createElement("tr");
  cells.forEach((c, i) => {
    const [content, cls] = Array.isArray(c) ? c : [c];
    const td = text(i === 0 ? "th" : "td", content, cls);
    if (i === 0) td.scope = "row";
    tr.append(td);
  });
  return tr;
};
const fill = (id, rows, columns, empty) => {
  if (rows.length === 0) {
    const tr = document.createElement("tr"), td = text("td", empty);
    td.colSpan = columns;
    tr.append(td);
    rows = [tr];
  }
  $(id).replaceChildren(...rows);
};
const took = ns => ns < 1e3 ? ns + " ns" : ns < 1e6 ? (ns / 1e3).toPrecision(3) + " µs" : ns < 1e9 ? (ns / 1e6).toPrecision(3) + " ms" : (ns / 1e9).toFixed(2) + " s";
const bytes = n => n < 1 << 20 ? Math.round(n / 1024) + " KiB" : (n / (1 << 20)).toFixed(1) + " MiB";
const sum = (list, f) => (list || []).reduce((n, x) => n + Number(f(x)), 0);

function showCells(cells) {
  fill("cell-rows", cells.map(c => row([c.name, [c.state + (c.why ? ": " + c.why : ""), c.state], c.version, c.capsid,
    (c.instances || []).map(i => i.pid).join(", ") || "none", [c.callers, "n"], [c.restarts, "n"],
    [took(sum(c.instances, i => i.cpu)), "n"], [bytes(sum(c.instances, i => i.memory)), "n"], (c.services || []).join(", ")])), 10, "no cells are configured");
  fill("version-rows", cells.flatMap(c => (c.all_versions || []).map(v => row([c.name, v.name + (v.current ? " (current)" : ""), [v.state, v.state], v.why || "",
    (v.methods || []).map(m => m.name + " " + m.fingerprint + (m.accepts && m.accepts.length ? " accepts " + m.accepts.join(" ") : "")).join("; ")]))), 5, "none");
}

const svg = (cls, label, width, children) => {
  const ns = "http://www.w3.org/2000/svg", e = document.createElementNS(ns, "svg");
  e.setAttribute("class", cls);
  e.setAttribute("viewBox", "0 0 " + width + " 100");
  e.setAttribute("preserveAspectRatio", "none");
  e.setAttribute("role", "img");
  e.setAttribute("aria-label", label);
  for (const [tag, attributes] of children) {
    const c = document.createElementNS(ns, tag);
    for (const a in attributes) c.setAttribute(a, attributes[a]);
    e.append(c);
  }
  return e;
};

function quantile(buckets, total, q) {
  let n = 0;
  for (let k = 0; k < buckets.length; k++) {
    n += buckets[k];
    if (n >= total * q) return 2 ** (k + 1) - 1;
  }
  return 0;
}

function card(t, at) {
  const key = t.process + " " + t.name + " " + t.label;
  const s = series.get(key) || { looks: [], rates: [] };
  series.set(key, s);
  s.looks.push({ at, count: t.count, buckets: t.buckets });
  if (s.looks.length > 6) s.looks.shift();
  const first = s.looks[0], last = s.looks[s.looks.length - 1], before = s.looks[Math.max(0, s.looks.length - 2)];
  s.rates.push(last.at > before.at ? Math.max(0, (last.count - before.count) * 1000 / (last.at - before.at)) : 0);
  if (s.rates.length > kept) s.rates.shift();
  let shown = t.buckets.map((n, k) => n - first.buckets[k]), total = last.count - first.count;
  const live = total > 0;
  if (!live) { shown = t.buckets; total = t.count; }
  const from = Math.max(0, shown.findIndex(n => n > 0) - 1), to = shown.length - [...shown].reverse().findIndex(n => n > 0) + 1;
  const part = shown.slice(from, to), most = Math.max(1, ...part);
  const p50 = live ? "below " + took(quantile(shown, total, .5)) : took(t.p50), p99 = live ? "below " + took(quantile(shown, total, .99)) : took(t.p99);
  const article = document.createElement("article"), rate = s.rates[s.rates.length - 1];
  article.append(text("h3", t.label || t.name), text("p", t.process + ": " + t.name),
    text("p", rate.toFixed(1) + " a second; " + (live ? "lately" : "since the start") + " half " + p50 + ", 99 % " + p99 + "; longest ever " + took(t.max)));
  article.append(svg("bars", "Histogram of " + (t.label || t.name) + ": " + part.map((n, k) => n ? n + " below " + took(2 ** (from + k + 1)) : "").filter(Boolean).join(", "),
    part.length * 10, part.map((n, k) => ["rect", { x: k * 10 + 1, width: 8, y: 100 - 100 * n / most, height: 100 * n / most }])));
  article.append(text("p", took(2 ** from) + " to " + took(2 ** Math.min(to, shown.length))));
  const top = Math.max(1, ...s.rates);
  article.append(svg("rate", "Calls a second over the last minute, now " + rate.toFixed(1) + ", at most " + top.toFixed(1), kept,
    [["polyline", { points: s.rates.map((r, i) => (kept - s.rates.length + i) + "," + (98 - 96 * r / top)).join(" ") }]]));
  return article;
}

function show(o) {
  $("node").textContent = "process " + o.pid + ", since " + new Date(o.since).toLocaleString() + ", in " + o.dir;
  showCells(o.cells);
  const cards = o.times.map(t => card(t, o.at));
  $("time-cards").replaceChildren(...(cards.length ? cards : [text("p", "no process shows times yet")]));
  fill("link-rows", o.links.map(l => row([l.kind, l.peer, l.zero_copy ? "yes" : "no", [l.received, "n"], [l.sent, "n"], l.why.join("; ") || "it is the best"])), 6, "none");
  fill("audit-rows", o.audit.slice().reverse().map(a => row([new Date(a.at).toLocaleTimeString(), a.who, a.did, a.cell, a.why || ""])), 5, "nothing yet");
}

async function look() {
  if (!paused) {
    try {
      const answer = await fetch("state.json");
      if (!answer.ok) throw new Error(answer.status + " " + answer.statusText);
      show(await answer.json());
      if (failures) $("status").textContent = "The node answers again.";
      failures = 0;
    } catch (err) {
      if (failures++ === 0) $("status").textContent = "The node does not answer: " + err.message;
    }
  }
  setTimeout(look, period);
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").textContent = paused ? "Go on" : "Pause";
  $("pause").setAttribute("aria-pressed", paused);
  $("status").textContent = paused ? "Paused." : "";
});
look();
