// Small browser-side helpers of the shell that need no server: copying, shortcuts, the offline notice.
import { useEffect, useRef, useState } from "react";
import { useNavigate } from "react-router";

const CHORD_MS = 1200;
const COPIED_MS = 1600;
const PAGES = { t: "/", d: "/dataset", m: "/multi-run", r: "/runs", e: "/export", p: "/playground", o: "/models", s: "/settings" };

// The clipboard API exists in secure contexts only; over plain http in a LAN the old way is left.
async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function CopyButton({ text = "", children, className = "btn sm ghost", ...rest }) {
  const [copied, setCopied] = useState(false);
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const run = async () => {
    await copy(text);
    setCopied(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setCopied(false), COPIED_MS);
  };
  return (
    <button type="button" className={className} onClick={run} {...rest}>
      {children}
      <span aria-live="polite">{copied ? "Copied" : "Copy"}</span>
    </button>
  );
}

function moveRow(by) {
  const rows = [...document.querySelectorAll(".rowlink")];
  const at = rows.indexOf(document.activeElement);
  const next = rows[Math.min(rows.length - 1, Math.max(0, at + by))];
  if (next) next.focus();
}

function isTyping(target) {
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}

function selectRow() {
  document.activeElement?.closest("tr")?.querySelector("[data-key=select]")?.click();
}

// `g` then a letter goes to a page, Ctrl Enter starts, `p` pauses, `/` searches, `j k` walk rows, `x` selects
// one, `[ ]` walk the rows of the microscope, `c` copies, `?` lists.
export function Shortcuts() {
  const navigate = useNavigate();
  const chord = useRef(0);
  useEffect(() => {
    const press = (selector) => {
      const seen = [...document.querySelectorAll(selector)].find((item) => item.getClientRects().length > 0);
      if (seen && !seen.disabled) seen.click();
    };
    const keys = {
      "?": () => press("[data-key=help]"),
      "/": () => document.querySelector("[data-key=search]")?.focus(),
      c: () => press("[data-key=copy]"),
      "[": () => press("[data-key=previous]"),
      "]": () => press("[data-key=next]"),
      j: () => moveRow(1),
      k: () => moveRow(-1),
      p: () => press("[data-key=pause]"),
      x: selectRow,
    };
    const handle = (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
        press("[data-key=start]");
        return;
      }
      const way = event.altKey && { ArrowUp: "up", ArrowDown: "down" }[event.key];
      const job = way && document.activeElement?.closest("[data-queue]");
      if (job) {
        event.preventDefault();
        job.querySelector(`[data-key=${way}]`)?.click();
        return;
      }
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      if (document.querySelector("[role=alertdialog], [role=dialog]")) return;
      const isChord = event.timeStamp - chord.current < CHORD_MS;
      chord.current = event.key === "g" ? event.timeStamp : -Infinity;
      const action = isChord && PAGES[event.key] ? () => navigate(PAGES[event.key]) : keys[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    };
    chord.current = -Infinity;
    window.addEventListener("keydown", handle);
    return () => window.removeEventListener("keydown", handle);
  }, [navigate]);
  return null;
}

// Shown while the socket is down; the numbers stay on the page and say since when they are old.
export function Offline({ lost = false, children }) {
  const [since, setSince] = useState(0);
  const [now, setNow] = useState(0);
  useEffect(() => {
    if (!lost) {
      setSince(0);
      return undefined;
    }
    const start = Date.now();
    setSince(start);
    setNow(start);
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [lost]);
  useEffect(() => {
    document.documentElement.classList.toggle("offline", lost);
  }, [lost]);
  if (!lost || since === 0) return null;
  const clock = new Date(since).toLocaleTimeString("en-GB");
  const seconds = Math.max(0, Math.round((now - since) / 1000));
  const retry = () => document.dispatchEvent(new Event("visibilitychange"));
  return (
    <div className="offl" role="status">
      {children}
      <span className="grow">
        <b className="m t1">Connection lost {seconds} s ago.</b> The run goes on. Numbers as of {clock}. Trying again.
      </span>
      <button type="button" className="btn sm" onClick={retry}>
        Try now
      </button>
    </div>
  );
}

const NOTIFIED = "backpropagate.notified";

// One tab of this browser tells for all: it holds a lock until it is closed. The number that was told last is
// kept beside the page, so that a reload repeats nothing; the first visit tells nothing of what was before it.
export function Notices({ notices = [], ready = false }) {
  const [tells, setTells] = useState(false);
  useEffect(() => {
    if (!navigator.locks) {
      setTells(true);
      return undefined;
    }
    const leaving = new AbortController();
    let release = () => {};
    const held = new Promise((resolve) => {
      release = resolve;
    });
    const hold = () => {
      setTells(true);
      return held;
    };
    navigator.locks.request(NOTIFIED, { signal: leaving.signal }, hold).catch(() => {});
    return () => {
      leaving.abort();
      release();
    };
  }, []);
  useEffect(() => {
    if (!ready || !tells) return;
    const newest = notices.length ? notices[notices.length - 1].id : 0;
    const stored = localStorage.getItem(NOTIFIED);
    const told = stored === null ? newest : Number(stored);
    if (stored === null || newest !== told) localStorage.setItem(NOTIFIED, String(newest));
    if (!("Notification" in window) || Notification.permission !== "granted") return;
    for (const notice of notices.filter((item) => item.id > told)) {
      new Notification(notice.title, { body: notice.text, tag: `backpropagate-${notice.id}`, icon: "/favicon.svg" });
    }
  }, [notices, ready, tells]);
  return null;
}

// Browsers ask for permission only after a press of a button.
export function NotifyButton({ className = "btn sm ghost" }) {
  const [permission, setPermission] = useState("");
  useEffect(() => setPermission("Notification" in window ? Notification.permission : ""), []);
  if (permission === "") return null;
  const ask = async () => setPermission(await Notification.requestPermission());
  if (permission !== "default") {
    const words = permission === "granted" ? "Notifications on" : "Notifications are blocked in this browser";
    return <span className="sm t3">{words}</span>;
  }
  return (
    <button type="button" className={className} onClick={ask}>
      Notify me here
    </button>
  );
}
