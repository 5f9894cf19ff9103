"use strict";
// The page of experiments/view.py. For the data see `_surface` and `_curve` there; null is a number that is not finite.
const data = JSON.parse(document.getElementById("data").textContent);
const {surface, profile} = data;
const element = (id) => document.getElementById(id);
const CURVE = "#0072b2", SEGMENT = "#d55e00", ITERATES = "#cc79a7", MARK = "#e69f00";
const GREY = "#c9ccd0";
const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779",
                 "#6ece58", "#b5de2b", "#fde725"];
const FONT = {family: "system-ui, sans-serif", size: 13, color: "#1b1f24"};
// Without these two settings, plotly.js has a button that uploads the chart.
const CONFIG = {displaylogo: false, showSendToCloud: false, plotlyServerURL: ""};
const CAMERA = {eye: {x: -0.25, y: 0.8, z: 1.5}, center: {x: 0, y: -0.08, z: -0.02}};
let at = 0;  // the index in profile.t of the marker

// Escapes names: plotly's texts interpret some HTML tags.
const plain = (name) => name.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
const metric = () => data.metrics.find((m) => m.key === element("metric").value);
const isLog = () => metric().log && element("log").checked;
const show = (v) => v === null || v === undefined ? "not finite"
  : Number(v) === 0 ? "0" : Math.abs(v) >= 1e5 || Math.abs(v) < 1e-3 ? v.toExponential(2) : String(Number(v.toPrecision(4)));
const lines = (values, i) => data.metrics.map((m) => `${m.label}: ${show(values[m.key][i])}`);

// ---- the surface ----------------------------------------------------------------------------

// The range of drawn heights: of the metric, or of its decimal logarithm.
function range(m) {
  const all = surface.values[m.key].flat().concat(...layers().map((l) => l.values[m.key]));
  const finite = all.filter((v) => v !== null && (!isLog() || v > 0));
  const top = m.clip ?? (finite.length ? finite.reduce((a, b) => Math.max(a, b)) : 1);
  const bottom = finite.reduce((a, b) => Math.min(a, b), top);
  if (isLog() && !(top > 0)) return [-1, 0];  // every loss is 0
  return isLog() ? [Math.log10(Math.max(bottom, 1e-9 * top)), Math.log10(top)] : [bottom, top];
}

function layers() {
  return [surface.points, surface.curve, surface.segment, surface.iterates].filter((l) => l);
}

function height(v, [low, high]) {
  if (v === null) return high;
  if (isLog()) v = v > 0 ? Math.log10(v) : low;
  return Math.min(Math.max(v, low), high);
}

function ticks([low, high]) {
  if (!isLog()) return {nticks: 7};
  const decades = [];
  for (let d = Math.floor(low); d <= Math.ceil(high); d++) decades.push(d);
  const steps = high - low > 3 ? [1] : high - low > 1 ? [1, 3] : [1, 1.5, 2, 3, 5, 7];
  const values = decades.flatMap((d) => steps.map((s) => d + Math.log10(s)))
    .filter((v) => v >= low - 1e-9 && v <= high + 1e-9);
  return {tickvals: values, ticktext: values.map((v) => show(10 ** v))};
}

function surfaceTraces() {
  const m = metric(), limits = range(m), [low, high] = limits;
  const values = surface.values[m.key], span = high - low || 1;
  const over = values.some((row) => row.some((v) => v === null || (m.clip !== null && v > m.clip)));
  const z = values.map((row) => row.map((v) => height(v, limits)));
  const colour = values.map((row, i) => row.map(
    (v, j) => v === null || (m.clip !== null && v > m.clip) ? high + 0.02 * span : z[i][j]));
  const scale = VIRIDIS.map((c, i) => [i / 9 / (over ? 1.015 : 1), c]);
  if (over) scale.push([1 / 1.014, GREY], [1, GREY]);
  const text = values.map((row, i) => row.map((_, j) => [
    ...data.metrics.map((n) => `${n.label}: ${show(surface.values[n.key][i][j])}`),
    `at (${show(surface.x[j])}, ${show(surface.y[i])})`].join("<br>")));
  const traces = [{
    type: "surface", name: "surface", x: surface.x, y: surface.y, z, surfacecolor: colour,
    cmin: low, cmax: high + (over ? 0.02 * span : 0), colorscale: scale, text, hoverinfo: "text",
    opacity: 1, lighting: {ambient: 0.75, diffuse: 0.5, specular: 0.08, roughness: 0.8},
    contours: {z: {show: true, color: "rgba(0,0,0,0.35)", width: 1, highlight: false,
                   start: low, end: high - 1e-3 * span, size: span / 12},
               x: {highlight: false}, y: {highlight: false}},
    colorbar: {title: {text: m.label + (over ? "<br>grey: over " + show(m.clip) : ""), side: "top"},
               orientation: "h", y: -0.02, yanchor: "top", len: 0.6, thickness: 12, ...ticks(limits)},
  }];
  const lift = 0.006 * span;  // keeps lines on the surface visible
  const layer = (l, extra) => ({
    type: "scatter3d", x: l.x, y: l.y, z: l.values[m.key].map((v) => height(v, limits) + lift),
    hoverinfo: "text", ...extra});
  const distance = (l, i) => l.distance ? [`distance from the plane: ${show(l.distance[i])}`] : [];
  const along = (name) => profile.t.map(
    (t, i) => [`<b>${name}, t = ${show(t)}</b>`, ...lines(surface[name].values, i),
               ...distance(surface[name], i)].join("<br>"));
  if (surface.segment) traces.push(layer(surface.segment, {
    name: "segment", mode: "lines", text: along("segment"),
    line: {color: SEGMENT, width: 6, dash: "dash"}}));
  if (surface.curve) traces.push({
    ...layer(surface.curve), name: "curve on the surface", mode: "lines", text: along("curve"),
    z: onSurface(surface.curve, z).map((v) => v + 2 * lift),
    line: surface.curve.off.some((v) => v > 0) ? {color: "white", width: 4, dash: "dot"} : {color: "white", width: 7},
  }, layer(surface.curve, {
    name: "curve", mode: "lines", text: along("curve"), line: {color: CURVE, width: 9}}));
  if (surface.iterates) traces.push(layer(surface.iterates, {
    name: "iterates", mode: "lines+markers+text", line: {color: ITERATES, width: 4},
    marker: {size: 4.5, color: ITERATES, line: {color: "white", width: 1}},
    text: labels(surface.iterates), textfont: {size: 12, color: ITERATES},
    textposition: "top center",
    hovertext: surface.iterates.name.map((n, i) => [`<b>iterate ${plain(n)}</b>`, ...lines(surface.iterates.values, i),
      ...distance(surface.iterates, i)].join("<br>"))}));
  traces.push(layer(surface.points, {
    name: "points", mode: "markers",
    marker: {size: 6.5, color: "white", line: {color: "#1b1f24", width: 2}},
    hovertext: surface.points.name.map(
      (n, i) => [`<b>${plain(n)}</b>`, ...lines(surface.points.values, i)].join("<br>"))}));
  if (surface.curve) traces.push({
    type: "scatter3d", name: "marker", mode: "lines+markers", hoverinfo: "skip", ...markerAt(z, limits),
    line: {color: MARK, width: 4}, marker: {size: [9, 13], color: MARK, line: {color: "#1b1f24", width: 2}}});
  return traces;
}

// Labels the first, the last and some other iterates, where there is room.
function labels(iterates) {
  const taken = surface.points.x.map((x, i) => [x, surface.points.y[i]]);
  const room = 0.03 * (surface.x.at(-1) - surface.x[0]);
  const last = iterates.epoch.length - 1, step = Math.max(1, Math.ceil(last / 4));
  const found = iterates.epoch.map(() => "");
  for (const i of new Set([0, last, ...[...iterates.epoch.keys()].filter((i) => i % step === 0)])) {
    const here = [iterates.x[i], iterates.y[i]];
    if (taken.some(([x, y]) => Math.hypot(x - here[0], y - here[1]) < room)) continue;
    taken.push(here);
    found[i] = `w${iterates.epoch[i]}`;
  }
  return found;
}

// Heights of the drawn surface at a layer's points, by bilinear interpolation.
function onSurface(layer, z) {
  const place = (axis, v) => {
    const at = (v - axis[0]) / (axis[1] - axis[0]);
    const cell = Math.min(Math.max(Math.floor(at), 0), axis.length - 2);
    return [cell, at - cell];
  };
  return layer.x.map((x, k) => {
    const [j, a] = place(surface.x, x), [i, b] = place(surface.y, layer.y[k]);
    return (1 - b) * ((1 - a) * z[i][j] + a * z[i][j + 1])
      + b * ((1 - a) * z[i + 1][j] + a * z[i + 1][j + 1]);
  });
}

// The index of the curve's point near a place on the surface, because the mouse rarely hits the line itself.
function nearest(x, y) {
  const away = surface.curve.x.map((cx, i) => Math.hypot(cx - x, surface.curve.y[i] - y));
  const least = Math.min(...away);
  return least < 0.04 * (surface.x.at(-1) - surface.x[0]) ? away.indexOf(least) : undefined;
}

// The marker: the curve's point at its own height, and its projection on the surface.
function markerAt(z, limits) {
  const x = [surface.curve.x[at]], y = [surface.curve.y[at]];
  const lift = 0.01 * (limits[1] - limits[0]);
  const own = height(surface.curve.values[metric().key][at], limits);
  return {x: [...x, ...x], y: [...y, ...y], z: [own + lift, onSurface({x, y}, z)[0] + 4 * lift]};
}

function surfaceLayout() {
  const limits = range(metric()), room = 0.03 * (limits[1] - limits[0] || 1);
  const extent = (v) => v[v.length - 1] - v[0];
  const largest = Math.max(extent(surface.x), extent(surface.y));
  const axis = {showspikes: false, gridcolor: "#e1e4e8", zeroline: false, showbackground: false};
  return {
    font: FONT, margin: {l: 0, r: 0, t: 0, b: 60}, showlegend: false, uirevision: "same",
    scene: {
      aspectmode: "manual",
      aspectratio: {x: 1.25 * extent(surface.x) / largest, y: 1.25 * extent(surface.y) / largest, z: 0.6},
      camera: CAMERA,
      xaxis: {title: {text: `distance from ${plain(surface.points.name[0])}`}, ...axis},
      yaxis: {title: {text: "orthogonal distance"}, ...axis},
      annotations: surface.points.name.map((name, i) => ({
        text: plain(name), x: surface.points.x[i], y: surface.points.y[i],
        z: height(surface.points.values[metric().key][i], limits), ax: 0, ay: -32,
        bgcolor: "rgba(255,255,255,0.85)", borderpad: 3, arrowhead: 0, arrowwidth: 1, font: {size: 14}})),
      zaxis: {title: {text: metric().label}, range: [limits[0] - room, limits[1] + room], ...axis, ...ticks(limits)},
    },
  };
}

// ---- the profile ----------------------------------------------------------------------------

function profileTraces() {
  const m = metric();
  const low = lowest();
  const positive = (v) => isLog() && v !== null ? Math.max(v, low) : v;
  const style = {curve: {color: CURVE, width: 2.4}, segment: {color: SEGMENT, width: 2.4, dash: "dash"}};
  return Object.keys(style).filter((path) => profile[path]).map((path) => ({
    type: "scatter", name: path, mode: "lines", x: profile.t, y: profile[path][m.key].map(positive),
    line: style[path], customdata: profile[path][m.key].map(show), hovertemplate: `${path}: %{customdata}<extra></extra>`,
  })).concat([{
    type: "scatter", name: "marker", mode: "markers", showlegend: false, hoverinfo: "skip",
    x: [profile.t[at]], y: [positive(profile.curve[m.key][at])],
    marker: {size: 12, color: MARK, line: {color: "#1b1f24", width: 1.5}},
  }]);
}

function profileLayout() {
  return {
    font: FONT, margin: {l: 64, r: 12, t: 30, b: 44}, hovermode: "x unified", uirevision: metric().key + isLog(),
    legend: {orientation: "h", x: 0, y: 1.02, yanchor: "bottom"}, plot_bgcolor: "white",
    xaxis: {title: {text: "t"}, range: [0, 1], gridcolor: "#e1e4e8", zeroline: false},
    yaxis: {title: {text: metric().label + (floored() ? " (0 is at the bottom)" : "")}, type: isLog() ? "log" : "linear", gridcolor: "#e1e4e8",
            zeroline: false, tickformat: "~g", ...(isLog() ? {dtick: decades() > 1.7 ? 1 : "D2"} : {})},
    shapes: [rule()],
  };
}

const along = () => [profile.curve, profile.segment].flatMap((path) => path ? path[metric().key] : []);
const floored = () => isLog() && along().some((v) => v === 0);

// The value that stands for zero on a logarithmic axis.
function lowest() {
  const positive = along().filter((v) => v > 0);
  return positive.length ? Math.min(...positive) : 1;
}

function decades() {
  return Math.log10(Math.max(lowest(), ...along()) / lowest());
}

function rule() {
  const t = profile.t[at];
  return {type: "line", x0: t, x1: t, yref: "paper", y0: 0, y1: 1, line: {color: MARK, width: 1.5}};
}

function numbers() {
  const paths = ["curve", "segment"].filter((p) => profile[p]);
  const cell = (tag, text) => Object.assign(document.createElement(tag), {textContent: text});
  const row = (tag, texts) => {
    const one = document.createElement("tr");
    one.append(...texts.map((t) => cell(tag, t)));
    return one;
  };
  const rows = [row("th", ["", ...paths])];
  for (const m of data.metrics) {
    rows.push(row("td", [m.label, ...paths.map((p) => show(profile[p][m.key][at]))]));
    rows.at(-1).classList.toggle("chosen", m === metric());
  }
  for (const [label, values] of Object.entries(profile.others)) {
    rows.push(row("td", [label, ...paths.map((p) => values[p] ? show(values[p][at]) : "")]));
  }
  element("numbers").replaceChildren(...rows);
  element("at").value = show(profile.t[at]);
}

// ---- together -------------------------------------------------------------------------------

function draw() {
  element("log").disabled = !metric().log;
  if (profile) {
    numbers();
    Plotly.react("profile", profileTraces(), profileLayout(), CONFIG);
  }
  if (surface) Plotly.react("surface", surfaceTraces(), surfaceLayout(), CONFIG);
}

function moveTo(index) {
  if (index === at || index === undefined) return;
  at = index;
  element("t").value = at;
  numbers();
  const y = profileTraces().at(-1).y;
  Plotly.update("profile", {x: [[profile.t[at]]], y: [y]}, {shapes: [rule()]},
                [element("profile").data.length - 1]);
  if (surface) {
    const {x, y, z} = markerAt(element("surface").data[0].z, range(metric()));
    Plotly.restyle("surface", {x: [x], y: [y], z: [z]}, [element("surface").data.length - 1]);
  }
}

for (const m of data.metrics) element("metric").add(new Option(m.label, m.key));
element("log").checked = true;
element("surface").hidden = !surface;
element("side").hidden = element("along").hidden = !profile;
if (profile) {
  at = profile.t.length >> 1;
  element("t").max = profile.t.length - 1;
  element("t").value = at;
  element("t").addEventListener("input", () => moveTo(Number(element("t").value)));
}
element("metric").addEventListener("change", draw);
element("log").addEventListener("change", draw);
draw();
const resized = new ResizeObserver((all) => all.forEach((one) => Plotly.Plots.resize(one.target)));
for (const id of ["surface", "profile"]) if (element(id).data) resized.observe(element(id));
if (profile) element("profile").on("plotly_hover", (event) => moveTo(event.points[0].pointNumber));
if (surface && profile) {
  element("surface").on("plotly_hover", (event) => {
    const {data: trace, pointNumber, x, y} = event.points[0];
    moveTo(/^(curve|segment)/.test(trace.name) ? pointNumber : nearest(x, y));
  });
}
