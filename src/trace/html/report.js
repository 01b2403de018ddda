"use strict";
// The report's program. What a trace holds is hostile: it comes as data, and gets into the page only as
// text and as numbers on a canvas.
(() => {
  const $ = (id) => document.getElementById(id);
  const about = JSON.parse($("about").textContent);
  const texts = JSON.parse($("texts").textContent);
  const { threads, names, classes, marks } = about;

  // Columns: one number a call in each, in the order in which calls ended.
  const count = about.count;
  const thread = new Uint32Array(count), name = new Uint32Array(count), text = new Uint32Array(count);
  const begin = new Float64Array(count), length = new Float64Array(count);
  const flags = new Uint8Array(count);
  const ENDED = 1, FAILED = 2;
  {
    const bytes = atob($("columns").textContent);
    let at = 0;
    const number = () => {
      let value = 0, factor = 1;
      for (;;) {
        const byte = bytes.charCodeAt(at++);
        value += (byte & 127) * factor;
        if (byte < 128) return value;
        factor *= 128;
      }
    };
    let time = 0;
    for (let i = 0; i < count; i++) {
      thread[i] = number();
      const step = number();
      time += step % 2 ? -(step + 1) / 2 : step / 2;
      begin[i] = time;
      length[i] = number();
      name[i] = number();
      flags[i] = number();
      text[i] = number();
    }
    $("columns").remove();
    $("texts").remove();
  }

  // All calls by their beginning, and those of each thread, which never overlap.
  let first = Infinity, last = -Infinity;
  const order = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    order[i] = i;
    first = Math.min(first, begin[i]);
    last = Math.max(last, begin[i] + length[i]);
  }
  order.sort((a, b) => begin[a] - begin[b] || a - b);
  if (!(last > first)) [first, last] = count ? [first, first + 1] : [0, 1];
  const byThread = (chosen) => {
    const sizes = new Uint32Array(threads.length);
    for (let i = 0; i < chosen.length; i++) sizes[thread[chosen[i]]]++;
    const lists = Array.from(sizes, (size) => new Uint32Array(size));
    sizes.fill(0);
    for (let i = 0; i < chosen.length; i++) {
      const call = chosen[i], of = thread[call];
      lists[of][sizes[of]++] = call;
    }
    return lists;
  };
  const everything = byThread(order);
  // Rows of the timeline: threads beside those of their process.
  const rows = threads.map((_, i) => i).sort((a, b) => threads[a].pid - threads[b].pid || threads[a].tid - threads[b].tid);
  const rowOf = [];
  rows.forEach((of, row) => { rowOf[of] = row; });

  // What is shown.
  let matches = order, found = everything, wrong = [], buckets = [];
  let from = first, to = last, top = 0, chosen = -1, query = null;

  const units = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];
  const duration = (ns) => {
    const [size, unit] = units.find(([size]) => Math.abs(ns) >= size) || units[3];
    return `${+(ns / size).toPrecision(4)} ${unit}`;
  };
  const threadName = (i) => {
    const { pid, tid, comm } = threads[i];
    return `${pid}${tid === pid ? "" : "/" + tid} ${comm}`;
  };

  // --- Choosing.

  const parseDuration = (word) => {
    const parts = /^\s*([0-9.]+)\s*(ns|us|µs|ms|s)?\s*$/.exec(word);
    const sizes = { ns: 1, us: 1e3, "µs": 1e3, ms: 1e6, s: 1e9 };
    return parts ? parts[1] * sizes[parts[2] || "ms"] : 0;
  };

  const parseQuery = (words) => {
    const terms = { has: [], not: [], pid: [], tid: [], comm: [] };
    for (const [, minus, field, quoted, plain] of words.matchAll(/(-?)(?:(pid|tid|comm):)?(?:"([^"]*)"|(\S+))/g)) {
      const word = quoted ?? plain;
      if (field) terms[field].push(word);
      else {
        const escaped = word.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
        // As in many editors: a capital letter says that they matter.
        const term = new RegExp(escaped, /\p{Lu}/u.test(word) ? "" : "i");
        terms[minus ? "not" : "has"].push(term);
      }
    }
    return terms;
  };

  const choose = () => {
    const terms = parseQuery($("search").value);
    const least = parseDuration($("latency").value);
    const need = $("failed").checked ? FAILED : 0;
    const wanted = $("name").value === "" ? -1 : +$("name").value;
    const isText = new Uint8Array(texts.length);
    for (let i = 0; i < texts.length; i++) {
      const words = texts[i];
      isText[i] = terms.has.every((term) => term.test(words)) && !terms.not.some((term) => term.test(words));
    }
    const one = (list, value) => list.length === 0 || list.includes(String(value));
    const isThread = threads.map((of) => one(terms.pid, of.pid) && one(terms.tid, of.tid) && one(terms.comm, of.comm));
    const kept = new Uint32Array(count);
    let size = 0;
    for (let i = 0; i < count; i++) {
      const call = order[i];
      if (isText[text[call]] && isThread[thread[call]] && length[call] >= least
        && (flags[call] & need) === need && (wanted < 0 || name[call] === wanted)) kept[size++] = call;
    }
    matches = kept.subarray(0, size);
    found = byThread(matches);
    wrong = byThread(matches.filter((call) => flags[call] & FAILED));
    buckets = new Float64Array(1000);
    for (let i = 0; i < size; i++) {
      buckets[Math.min(999, Math.floor((begin[matches[i]] - first) / (last - first) * 1000))]++;
    }
    tell();
    fillCounts();
    fillList(true);
    draw();
  };

  const tell = () => {
    const all = count.toLocaleString("en");
    const some = matches.length.toLocaleString("en");
    $("status").textContent = matches.length === count ? `${all} calls` : `${some} of ${all} calls`;
    document.body.dataset.calls = count;
    document.body.dataset.matches = matches.length;
  };

  const fillCounts = () => {
    const sums = names.map(() => ({ calls: 0, errors: 0, time: 0, longest: 0 }));
    for (let i = 0; i < matches.length; i++) {
      const call = matches[i], sum = sums[name[call]];
      sum.calls++;
      if (flags[call] & FAILED) sum.errors++;
      sum.time += length[call];
      sum.longest = Math.max(sum.longest, length[call]);
    }
    const rows = [...sums.keys()].filter((i) => sums[i].calls).sort((a, b) => sums[b].time - sums[a].time);
    $("rows").replaceChildren(...rows.map((i) => {
      const row = document.createElement("tr"), sum = sums[i];
      for (const cell of [names[i], sum.calls, sum.errors || "", duration(sum.time), duration(sum.longest)]) {
        row.insertCell().textContent = cell;
      }
      row.onclick = () => { $("name").value = $("name").value === String(i) ? "" : i; changed(); };
      return row;
    }));
  };

  // --- The list: only as many rows exist as can be seen. A page cannot be as high as a million of them,
  // so beyond that a step of the scroll bar is more than one.

  const ROW = 18, HIGHEST = 8e6;
  const list = $("list"), lines = [];
  const visible = () => Math.ceil(list.clientHeight / ROW) + 1;
  const scrollable = () => Math.max(1, $("room").offsetHeight - list.clientHeight);
  const fillList = (isNew) => {
    if (isNew) {
      $("room").style.cssText = `margin:0;width:1px;height:${Math.min(HIGHEST, matches.length * ROW)}px`;
      list.scrollTop = 0;
    }
    const isScaled = matches.length * ROW > HIGHEST;
    const most = Math.max(0, matches.length - visible() + 1);
    const start = isScaled
      ? Math.round(list.scrollTop / scrollable() * most)
      : Math.min(most, Math.floor(list.scrollTop / ROW));
    while (lines.length < visible()) {
      const line = document.createElement("div");
      line.onclick = () => select(+line.dataset.call, false);
      line.ondblclick = () => zoomTo(+line.dataset.call);
      lines.push(line);
      list.append(line);
    }
    lines.forEach((line, i) => {
      const call = matches[start + i];
      line.hidden = call === undefined || i >= visible();
      if (line.hidden) return;
      const offset = isScaled ? list.scrollTop + i * ROW : (start + i) * ROW;
      line.style.top = `${offset}px`;
      line.dataset.call = call;
      line.className = (flags[call] & FAILED ? "failed" : "") + (call === chosen ? " chosen" : "");
      line.textContent = describe(call);
    });
  };
  const describe = (call) => {
    const time = ((begin[call] - first) / 1e9).toFixed(6).padStart(11);
    const end = flags[call] & ENDED ? ` <${duration(length[call])}>` : "";
    return `${time}  [${threadName(thread[call])}] ${texts[text[call]].split("\n", 1)[0]}${end}`;
  };
  const bound = (calls, isBefore) => {
    let low = 0, high = calls.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBefore(calls[middle])) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const place = (call) => bound(matches, (other) => begin[other] < begin[call] || begin[other] === begin[call] && other < call);

  const select = (call, isScrolled) => {
    chosen = call;
    const stack = call < 0 ? [] : texts[text[call]].split("\n").slice(1);
    $("call").textContent = call < 0 ? "" : [describe(call), ...stack].join("\n");
    const at = call < 0 ? 0 : place(call);
    if (isScrolled && call >= 0 && matches[at] === call) {
      const share = at / Math.max(1, matches.length - 1);
      list.scrollTop = matches.length * ROW > HIGHEST ? share * scrollable() : at * ROW - list.clientHeight / 2;
    }
    if (call >= 0 && (begin[call] > to || begin[call] + length[call] < from)) {
      const half = (to - from) / 2, middle = begin[call] + length[call] / 2;
      move(middle - half, middle + half);
    }
    fillList(false);
    draw();
  };
  const step = (by) => {
    if (!matches.length) return;
    const at = chosen < 0 ? (by > 0 ? -1 : 0) : place(chosen) - (by < 0 || matches[place(chosen)] === chosen ? 0 : 1);
    select(matches[(at + by + matches.length) % matches.length], true);
  };
  const zoomTo = (call) => {
    const around = Math.max(length[call], 100);
    move(begin[call] - 4 * around, begin[call] + 5 * around);
    select(call, true);
  };

  // --- The timeline.

  const HEIGHT = 20, LABEL = 150, AXIS = 20;
  const timeline = $("timeline"), overview = $("overview");
  const colour = (variable) => getComputedStyle(document.documentElement).getPropertyValue(`--${variable}`).trim();
  let colours = {};
  const palette = () => {
    for (const key of ["paper", "ink", "faint", "line", "file", "net", "process", "signal", "other", "failed", "all", "mark", "chosen"]) {
      colours[key] = colour(key);
    }
  };
  const paint = (canvas) => {
    const ratio = devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = colours.paper;
    pen.fillRect(0, 0, width, height);
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    return { pen, width, height };
  };
  const move = (start, end) => {
    const least = 50, whole = last - first;
    const span = Math.min(Math.max(end - start, least), whole * 1.1);
    const middle = (start + end) / 2;
    from = Math.min(Math.max(middle - span / 2, first - whole * 0.05), last + whole * 0.05 - span);
    to = from + span;
  };

  // Draws the calls of a thread. Of those that share a pixel one is drawn: the time that it takes depends on
  // the width of the picture, not on how many calls there are.
  const drawCalls = (pen, calls, y, height, width, style) => {
    const scale = (width - LABEL) / (to - from);
    let rectangles = 0;
    let i = bound(calls, (call) => begin[call] + length[call] < from);
    while (i < calls.length && begin[calls[i]] <= to) {
      const call = calls[i];
      const x = Math.max(0, (begin[call] - from) * scale);
      const end = Math.min(width - LABEL, (begin[call] + length[call] - from) * scale);
      pen.fillStyle = style(call);
      pen.fillRect(LABEL + x, y, Math.max(1, end - x), height);
      rectangles++;
      if (end - x > 60) label(pen, names[name[call]], LABEL + x + 3, y + height / 2, end - x - 6, colours.paper);
      const edge = from + (Math.floor(Math.max(x, end - 1)) + 1) / scale;
      i++;
      if (i < calls.length && begin[calls[i]] + length[calls[i]] < edge) {
        i += bound(calls.subarray(i), (other) => begin[other] + length[other] < edge);
      }
    }
    return rectangles;
  };
  const label = (pen, words, x, y, width, style) => {
    let shown = words;
    while (shown.length > 1 && pen.measureText(shown).width > width) shown = shown.slice(0, -2) + "…";
    pen.fillStyle = style;
    if (shown.length > 1) pen.fillText(shown, x, y);
  };
  const drawAxis = (pen, width) => {
    const target = (to - from) / Math.max(2, (width - LABEL) / 110);
    const power = 10 ** Math.floor(Math.log10(target));
    const size = power * [1, 2, 5, 10].find((factor) => power * factor >= target);
    const scale = (width - LABEL) / (to - from);
    pen.fillStyle = colours.faint;
    const start = Math.ceil((from - first) / size);
    for (let i = start; i * size <= to - first && i < start + 100; i++) {
      const time = i * size;
      const x = LABEL + (time + first - from) * scale;
      pen.fillRect(x, 0, 1, 5);
      pen.fillText(time === 0 ? "0" : duration(time), x + 3, AXIS / 2);
    }
  };

  let isDrawing = false;
  const draw = () => {
    if (isDrawing) return;
    isDrawing = true;
    requestAnimationFrame(() => {
      isDrawing = false;
      const started = performance.now();
      drawNow();
      document.body.dataset.drawing = (performance.now() - started).toFixed(1);
      remember();
    });
  };
  const drawNow = () => {
    palette();
    const { pen, width, height } = paint(timeline);
    const most = Math.max(0, threads.length * HEIGHT - (height - AXIS));
    top = Math.min(Math.max(0, top), most);
    drawAxis(pen, width);
    pen.save();
    pen.beginPath();
    pen.rect(0, AXIS, width, height - AXIS);
    pen.clip();
    const isSome = matches.length !== count;
    let rectangles = 0;
    for (let row = Math.floor(top / HEIGHT); row < rows.length; row++) {
      const y = AXIS + row * HEIGHT - top, i = rows[row];
      if (y > height) break;
      pen.fillStyle = colours.line;
      pen.fillRect(0, y + HEIGHT - 1, width, 1);
      label(pen, threadName(i), 8, y + HEIGHT / 2, LABEL - 16, colours.ink);
      if (isSome) rectangles += drawCalls(pen, everything[i], y + 7, HEIGHT - 14, width, () => colours.all);
      rectangles += drawCalls(pen, found[i], y + 3, HEIGHT - 7, width, (call) => colours[classes[name[call]]] || colours.other);
      rectangles += drawCalls(pen, wrong[i] || [], y + 3, HEIGHT - 7, width, () => colours.failed);
    }
    const scale = (width - LABEL) / (to - from);
    for (const [of, time] of marks) {
      const x = LABEL + (time - from) * scale, y = AXIS + rowOf[of] * HEIGHT - top;
      if (x < LABEL || x > width || y < AXIS - HEIGHT || y > height) continue;
      pen.fillStyle = colours.mark;
      pen.fillRect(x, y, 2, HEIGHT - 1);
    }
    if (chosen >= 0) {
      const x = LABEL + (begin[chosen] - from) * scale, y = AXIS + rowOf[thread[chosen]] * HEIGHT - top;
      pen.strokeStyle = colours.ink;
      pen.lineWidth = 1.5;
      if (x < width) pen.strokeRect(Math.max(LABEL, x - 1), y + 1.5, Math.max(3, length[chosen] * scale + 2), HEIGHT - 4);
    }
    pen.restore();
    document.body.dataset.rectangles = rectangles;
    drawOverview();
  };
  const drawOverview = () => {
    const { pen, width, height } = paint(overview);
    const most = buckets.reduce((a, b) => Math.max(a, b), 1);
    pen.fillStyle = colours.file;
    buckets.forEach((size, i) => {
      if (!size) return;
      const high = Math.max(1, (height - 4) * Math.sqrt(size / most));
      pen.fillRect(i / 1000 * width, height - high, width / 1000 + 0.5, high);
    });
    const x = (time) => (time - first) / (last - first) * width;
    pen.strokeStyle = colours.ink;
    pen.strokeRect(x(from) + 0.5, 0.5, Math.max(2, x(to) - x(from) - 1), height - 1);
  };

  // --- Hands.

  const timeAt = (x) => from + (x - LABEL) / (timeline.clientWidth - LABEL) * (to - from);
  const callAt = (x, y) => {
    const of = rows[Math.floor((y - AXIS + top) / HEIGHT)];
    if (y < AXIS || x < LABEL || !found[of]) return -1;
    const near = 3 / (timeline.clientWidth - LABEL) * (to - from), time = timeAt(x);
    const calls = found[of];
    const call = calls[bound(calls, (other) => begin[other] + length[other] < time - near)];
    return call !== undefined && begin[call] <= time + near ? call : -1;
  };
  const zoom = (factor, time) => {
    move(time - (time - from) * factor, time + (to - time) * factor);
    draw();
  };
  timeline.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (event.shiftKey) top += event.deltaY || event.deltaX;
    else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      const by = event.deltaX / timeline.clientWidth * (to - from);
      move(from + by, to + by);
    } else return zoom(1.0015 ** event.deltaY, timeAt(Math.max(LABEL, event.offsetX)));
    draw();
  }, { passive: false });
  let grip = null;
  timeline.addEventListener("pointerdown", (event) => {
    timeline.setPointerCapture(event.pointerId);
    grip = { x: event.offsetX, y: event.offsetY, from, to, top, isMoved: false };
  });
  timeline.addEventListener("pointermove", (event) => {
    if (!grip) {
      const call = callAt(event.offsetX, event.offsetY);
      const row = rows[Math.floor((event.offsetY - AXIS + top) / HEIGHT)];
      const near = 3 / (timeline.clientWidth - LABEL) * (to - from);
      const mark = marks.find(([of, time]) => of === row && Math.abs(time - timeAt(event.offsetX)) < near);
      timeline.title = mark ? mark[2] : call < 0 ? "" : describe(call);
      return;
    }
    const dx = event.offsetX - grip.x, dy = event.offsetY - grip.y;
    if (!grip.isMoved && Math.abs(dx) + Math.abs(dy) < 4) return;
    grip.isMoved = true;
    const by = dx / (timeline.clientWidth - LABEL) * (grip.to - grip.from);
    move(grip.from - by, grip.to - by);
    top = grip.top - dy;
    draw();
  });
  timeline.addEventListener("pointerup", (event) => {
    if (grip && !grip.isMoved) {
      const row = threads[rows[Math.floor((event.offsetY - AXIS + top) / HEIGHT)]];
      if (event.offsetX < LABEL && row) {
        const term = `pid:${row.pid}`, field = $("search");
        field.value = field.value.includes(term) ? field.value.replace(term, "").trim() : `${field.value} ${term}`.trim();
        changed();
      } else select(callAt(event.offsetX, event.offsetY), true);
    }
    grip = null;
  });
  timeline.addEventListener("dblclick", (event) => {
    const call = callAt(event.offsetX, event.offsetY);
    if (call >= 0) zoomTo(call);
  });
  const center = (event) => {
    if (event.buttons !== 1) return;
    const middle = first + event.offsetX / overview.clientWidth * (last - first), half = (to - from) / 2;
    move(middle - half, middle + half);
    draw();
  };
  overview.addEventListener("pointerdown", center);
  overview.addEventListener("pointermove", center);
  document.addEventListener("keydown", (event) => {
    if (/^(INPUT|SELECT)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    const by = (to - from) / 5, middle = (from + to) / 2;
    const keys = {
      "+": () => zoom(0.7, middle), "=": () => zoom(0.7, middle), "-": () => zoom(1.4, middle),
      ArrowLeft: () => move(from - by, to - by), ArrowRight: () => move(from + by, to + by),
      ArrowUp: () => { top -= 3 * HEIGHT; }, ArrowDown: () => { top += 3 * HEIGHT; },
      n: () => step(1), p: () => step(-1), 0: () => move(first, last),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
    draw();
  });
  list.addEventListener("scroll", () => fillList(false));
  addEventListener("resize", () => { fillList(false); draw(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  let later = 0;
  const changed = () => { clearTimeout(later); choose(); };
  for (const id of ["search", "latency"]) {
    $(id).addEventListener("input", () => { clearTimeout(later); later = setTimeout(choose, 120); });
  }
  for (const id of ["failed", "name"]) $(id).addEventListener("change", changed);
  document.querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); changed(); step(1); });
  $("reset").onclick = () => {
    for (const id of ["search", "latency", "name"]) $(id).value = "";
    $("failed").checked = false;
    move(first, last);
    select(-1, false);
    changed();
  };

  // --- The address keeps what is shown, so that a place can be handed on.

  const remember = () => {
    const state = new URLSearchParams();
    if ($("search").value) state.set("q", $("search").value);
    if ($("failed").checked) state.set("failed", "1");
    if ($("latency").value) state.set("min", $("latency").value);
    if ($("name").value !== "") state.set("call", names[+$("name").value]);
    if (from > first || to < last) {
      state.set("from", Math.round(from - first));
      state.set("to", Math.round(to - first));
    }
    const now = state.toString();
    if (now === query) return;
    query = now;
    try { history.replaceState(null, "", now ? `#${now}` : location.pathname + location.search); } catch { /* A page without an address of its own. */ }
  };
  const recall = () => {
    const state = new URLSearchParams(location.hash.slice(1));
    $("search").value = state.get("q") || "";
    $("failed").checked = state.has("failed");
    $("latency").value = state.get("min") || "";
    const wanted = names.indexOf(state.get("call"));
    $("name").value = wanted < 0 ? "" : wanted;
    if (state.has("from")) move(first + +state.get("from"), first + +(state.get("to") || 0));
  };

  const each = names.map((_, i) => i).sort((a, b) => names[a].localeCompare(names[b]));
  $("name").append(new Option("every call", ""), ...each.map((i) => new Option(names[i], i)));
  const subject = about.zone === null ? "programs of the host" : `zone ${about.zone}`;
  document.title = $("title").textContent = `Trace of ${subject}`;
  const missing = about.missing.length ? ` · ${about.missing.join(" · ")}` : "";
  const began = new Date(about.time_ns / 1e6).toISOString().replace("T", " ").slice(0, 19);
  $("about-it").textContent = `${began} UTC · ${duration(last - first)} · ${threads.length} thread${threads.length === 1 ? "" : "s"}${missing}`;
  addEventListener("hashchange", () => { recall(); choose(); });
  recall();
  choose();
})();
