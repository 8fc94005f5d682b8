// Keeps the login of an open page alive, and leads to the login page once it has ended. Without a login
// it asks once and rests.
(() => {
  const RENEW_MS = 3600_000;
  const LOOK_MS = 60_000;

  async function ask(method) {
    let answer;
    try {
      answer = await fetch("/session", { method, cache: "no-store" });
    } catch {
      return true; // The server is away; the page says so itself.
    }
    if (answer.status === 401) {
      const here = location.pathname + location.search;
      location.assign(`/login?next=${encodeURIComponent(here)}`);
      return false;
    }
    const { user } = answer.ok ? await answer.json() : {};
    if (user) document.documentElement.dataset.user = user;
    return Boolean(user);
  }

  ask("POST").then((signedIn) => {
    if (!signedIn) return;
    setInterval(() => ask("POST"), RENEW_MS);
    setInterval(() => document.hidden || ask("GET"), LOOK_MS);
    document.addEventListener("visibilitychange", () => document.hidden || ask("GET"));
  });
})();
