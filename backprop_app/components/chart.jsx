// One canvas for every curve: the sparkline of the rail, the loss chart, the small charts of a run.
//
// Takes new points only: a chunk is { stream, rows } and goes into the buffer of its own run, whatever run is
// shown. A row is [seq, step, loss, learning rate, gradient norm, tokens per second];
// null is a value that was not finite. Rows are merged by step in any order, the newest seq wins, so a
// doubled, late or repeated delivery changes nothing. It fetches nothing and keeps no run's past beyond
// LIMIT points.
import { useEffect, useRef } from "react";

const LIMIT = 6000;
const STREAMS = 4;
const buffers = new Map();

function bufferOf(stream) {
  let buffer = buffers.get(stream);
  if (buffer === undefined) {
    buffer = { rows: new Map(), sorted: [], dirty: false };
    buffers.set(stream, buffer);
    if (buffers.size > STREAMS) buffers.delete(buffers.keys().next().value);
  }
  return buffer;
}

function merge(buffer, rows) {
  for (const row of rows) {
    const known = buffer.rows.get(row[1]);
    if (known === undefined || known[0] <= row[0]) {
      buffer.rows.set(row[1], row);
      buffer.dirty = true;
    }
  }
  if (!buffer.dirty) return;
  buffer.sorted = [...buffer.rows.values()].sort((a, b) => a[1] - b[1]);
  if (buffer.sorted.length > LIMIT) thin(buffer);
  buffer.dirty = false;
}

// Drops every second row of the older half, so that a long run keeps its shape and its newest steps.
function thin(buffer) {
  const half = Math.floor(buffer.sorted.length / 2);
  buffer.sorted = buffer.sorted.filter((_, i) => i >= half || i % 2 === 0);
  buffer.rows = new Map(buffer.sorted.map((row) => [row[1], row]));
}

// Exponential mean that does not lag at the start: the share of the past grows with the values seen, and the
// mean is divided by its weights. `views/runs.py` says the same number in words.
function smoothed(values, most) {
  let sum = 0;
  let weight = 0;
  let seen = 0;
  return values.map((value) => {
    if (value === null) return null;
    const beta = Math.min(most, seen / (seen + 10));
    seen += 1;
    sum = beta * sum + (1 - beta) * value;
    weight = beta * weight + (1 - beta);
    return sum / weight;
  });
}

function niceStep(span, parts) {
  const rough = span / parts;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 2.5, 5, 10].find((item) => item * power >= rough * 0.999);
  return factor * power;
}

function label(value, step = 0) {
  const size = Math.abs(value);
  if (step > 0 && size < 1000) return value.toFixed(Math.min(4, Math.max(1, Math.ceil(-Math.log10(step) - 1e-9))));
  if (size !== 0 && size < 0.01) return value.toExponential(1).replace("e-", "e−").replace("-", "−");
  if (size >= 1000) return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

const whole = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 0 });

function plain(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) >= 100 ? whole(value) : value.toFixed(3);
}

function extent(lists) {
  let low = Infinity;
  let high = -Infinity;
  for (const list of lists) {
    for (const value of list) {
      if (value === null) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low === Infinity) return [0, 1];
  if (low === high) return [low - Math.abs(low || 1) * 0.05, high + Math.abs(high || 1) * 0.05];
  return [low, high];
}

function stroke(ctx, xs, ys, colour, width) {
  ctx.beginPath();
  let pen = false;
  for (let i = 0; i < xs.length; i += 1) {
    if (ys[i] === null) {
      pen = false;
    } else if (pen) {
      ctx.lineTo(xs[i], ys[i]);
    } else {
      ctx.moveTo(xs[i], ys[i]);
      pen = true;
    }
  }
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.lineJoin = "round";
  ctx.stroke();
}

function dot(ctx, x, y, colour, radius) {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.fillStyle = colour;
  ctx.fill();
}

// Text that stays readable where the curve runs behind it.
function captioned(ctx, text, x, y, colour) {
  ctx.textAlign = "right";
  ctx.lineWidth = 4;
  ctx.lineJoin = "round";
  ctx.strokeStyle = colour("--panel");
  ctx.strokeText(text, x, y);
  ctx.fillStyle = colour("--text-3");
  ctx.fillText(text, x, y);
}

function lastFinite(values) {
  for (let i = values.length - 1; i >= 0; i -= 1) if (values[i] !== null) return i;
  return -1;
}

function drawSmall(ctx, width, height, rows, options, colour) {
  const framed = options.variant === "mini";
  const top = framed ? 4 : 2;
  const bottom = framed ? height - 14 : height - 4;
  if (framed) {
    ctx.strokeStyle = colour("--grid");
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (const y of [top + 0.5, bottom + 0.5]) {
      ctx.moveTo(0, y);
      ctx.lineTo(width, y);
    }
    ctx.stroke();
  }
  const raw = rows.map((row) => row[options.column]);
  const values = framed ? raw : smoothed(raw, options.smooth);
  const last = lastFinite(values);
  const [low, highest] = extent([values]);
  const floor = framed && low >= 0 ? 0 : low;
  const high = framed ? highest * 1.08 || 1 : highest;
  if (framed) {
    ctx.font = `11px ${colour("--sans")}`;
    ctx.fillStyle = colour("--text-3");
    ctx.textAlign = "left";
    ctx.fillText("0", 0, height - 2);
    ctx.textAlign = "right";
    ctx.fillText(whole(options.total), width, height - 2);
  }
  if (last < 0) return;
  const first = framed ? 0 : rows[0][1];
  const end = framed ? Math.max(options.total, rows[last][1]) : rows[last][1];
  const inset = framed ? 0 : 3;
  const xs = rows.map((row) => inset + ((row[1] - first) / (end - first || 1)) * (width - 2 * inset));
  const ys = values.map((value) =>
    value === null ? null : bottom - ((value - floor) / (high - floor || 1)) * (bottom - top),
  );
  const tone = colour(options.tone);
  stroke(ctx, xs, ys, tone, 1.5);
  if (framed) captioned(ctx, label(highest), width, top + 12, colour);
  if (!framed || rows.length === 1) dot(ctx, xs[last], ys[last], tone, 2.2);
}

function axisY(ctx, box, scale, ticks, step, colour) {
  ctx.font = `11px ${colour("--sans")}`;
  ctx.lineWidth = 1;
  for (const tick of ticks) {
    const y = Math.round(scale(tick)) + 0.5;
    ctx.strokeStyle = colour("--grid");
    ctx.beginPath();
    ctx.moveTo(box.left, y);
    ctx.lineTo(box.right, y);
    ctx.stroke();
    ctx.fillStyle = colour("--text-3");
    ctx.textAlign = "right";
    ctx.fillText(label(tick, step), box.left - 8, y + 4);
  }
}

function axisX(ctx, box, from, to, checkpoints, x, colour) {
  ctx.strokeStyle = colour("--line");
  ctx.beginPath();
  ctx.moveTo(box.left, box.bottom + 0.5);
  ctx.lineTo(box.right, box.bottom + 0.5);
  ctx.stroke();
  ctx.fillStyle = colour("--text-3");
  ctx.textAlign = "center";
  const room = (box.right - box.left) / 6;
  const step = Math.max(1, Math.round(niceStep(to - from || 1, Math.min(6, (box.right - box.left) / 70))));
  for (let tick = Math.ceil(from / step) * step; tick <= to - step * 0.4; tick += step) {
    ctx.fillText(whole(tick), x(tick), box.bottom + 18);
  }
  ctx.textAlign = room > 60 ? "center" : "right";
  ctx.fillText(whole(to), x(to), box.bottom + 18);
  ctx.strokeStyle = colour("--text-3");
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  for (const mark of checkpoints) {
    if (mark < from || mark > to) continue;
    ctx.moveTo(x(mark), box.bottom);
    ctx.lineTo(x(mark), box.bottom + 5);
  }
  ctx.stroke();
}

function valueTicks(low, high, log) {
  if (log) {
    const ticks = [];
    for (let i = 0; i <= 4; i += 1) ticks.push(10 ** (low + ((high - low) * i) / 4));
    return ticks;
  }
  const step = niceStep(high - low, 5);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-9; tick += step) ticks.push(tick);
  return ticks;
}

function drawLoss(ctx, width, height, rows, options, colour) {
  const box = { left: 44, right: width - 14, top: 12, bottom: height - 34 };
  const newest = rows.length ? rows[rows.length - 1][1] : 0;
  const from = options.window ? Math.max(0, newest - options.window) : 0;
  const to = options.window ? Math.max(newest, from + 1) : Math.max(options.total, newest, 1);
  const seen = rows.filter((row) => row[1] >= from);
  const raw = seen.map((row) => row[options.column]);
  const soft = smoothed(raw, options.smooth);
  const map = (value) => (options.log ? Math.log10(Math.max(value, 1e-6)) : value);
  let [low, high] = extent([raw, soft].map((list) => list.map((value) => (value === null ? null : map(value)))));
  if (!options.log) {
    const step = niceStep(high - low, 5);
    low = Math.max(0, Math.floor(low / step) * step);
    high = Math.ceil(high / step) * step;
  }
  const y = (value) => box.bottom - ((map(value) - low) / (high - low || 1)) * (box.bottom - box.top);
  const x = (step) => box.left + ((step - from) / (to - from || 1)) * (box.right - box.left);
  axisY(ctx, box, y, valueTicks(low, high, options.log), options.log ? 0 : niceStep(high - low, 5), colour);
  axisX(ctx, box, from, to, options.checkpoints, x, colour);
  const xs = seen.map((row) => x(row[1]));
  const place = (list) => list.map((value) => (value === null ? null : y(value)));
  const tone = colour(options.tone);
  ctx.globalAlpha = 0.26;
  stroke(ctx, xs, place(raw), tone, 1);
  ctx.globalAlpha = 1;
  stroke(ctx, xs, place(soft), tone, 2);
  const last = lastFinite(soft);
  if (last < 0) return;
  const end = { x: xs[last], y: y(soft[last]) };
  if (options.failed) {
    ctx.fillStyle = colour("--danger");
    ctx.fillRect(Math.round(end.x) - 1, box.top, 2, box.bottom - box.top);
  }
  dot(ctx, end.x, end.y, options.failed ? colour("--danger") : tone, 4);
  ctx.font = `500 11px ${colour("--sans")}`;
  ctx.fillStyle = colour("--text");
  const text = width < 520 ? plain(soft[last]) : `Train ${plain(soft[last])}`;
  const fits = end.x + 14 + ctx.measureText(text).width < box.right;
  ctx.textAlign = fits ? "left" : "right";
  ctx.fillText(text, fits ? end.x + 12 : end.x - 10, Math.max(box.top + 10, end.y - 10));
}

function paint(canvas, rows, options) {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (width === 0 || height === 0) return;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const ctx = canvas.getContext("2d");
  ctx.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name).trim();
  const draw = options.variant === "loss" ? drawLoss : drawSmall;
  draw(ctx, width, height, rows, options, colour);
}

function useRepaint(canvas, repaint) {
  useEffect(() => {
    const later = () => requestAnimationFrame(repaint);
    const sizes = new ResizeObserver(later);
    sizes.observe(canvas.current);
    const themes = new MutationObserver(later);
    const root = canvas.current.closest(".radix-themes") || document.documentElement;
    themes.observe(document.documentElement, { attributeFilter: ["class"] });
    themes.observe(root, { attributeFilter: ["class"] });
    document.fonts.ready.then(later);
    return () => {
      sizes.disconnect();
      themes.disconnect();
    };
  });
}

const NOTHING = { stream: "", rows: [] };

export function Chart({
  chunk = NOTHING,
  stream = "",
  variant = "spark",
  column = 2,
  total = 0,
  smooth = 0.9,
  log = false,
  window: lastSteps = 0,
  checkpoints = [],
  failed = false,
  tone = "--c1",
  summary = "",
}) {
  const canvas = useRef(null);
  merge(bufferOf(chunk.stream), chunk.rows);
  const buffer = bufferOf(stream);
  const shown = buffer.sorted;
  const options = { variant, column, total, smooth, log, window: lastSteps, checkpoints, failed, tone };
  const repaint = () => canvas.current && paint(canvas.current, buffer.sorted, options);
  useEffect(() => {
    const frame = requestAnimationFrame(repaint);
    return () => cancelAnimationFrame(frame);
  });
  useRepaint(canvas, repaint);
  const newest = shown.length ? shown[shown.length - 1] : null;
  const text = newest
    ? `${summary}: ${plain(shown[0][column])} at step ${whole(shown[0][1])}, ${plain(newest[column])} at step ${whole(newest[1])}`
    : `${summary}: no step yet`;
  return (
    <div
      className={`plot ${variant}`}
      role="img"
      aria-label={text}
      data-stream={stream}
      data-points={shown.length}
      data-first={shown.length ? shown[0][1] : 0}
      data-last={newest ? newest[1] : 0}
    >
      <canvas ref={canvas} aria-hidden="true" />
    </div>
  );
}
