// Progressive enhancement only: every page works without this file.
"use strict";
(() => {
  document.documentElement.classList.add("scripts");

  const menu = document.getElementById("cluster");
  menu.addEventListener("change", () => menu.form.requestSubmit());

  const seconds = Number(document.body.dataset.refresh || 0);
  if (!seconds) return;

  // The address a <picture> would show here, so that it can be loaded before it is shown.
  const address = (picture) => {
    for (const source of picture.querySelectorAll("source")) {
      if (matchMedia(source.media).matches) return source.srcset;
    }
    return picture.querySelector("img").src;
  };

  const loaded = (picture) => {
    const image = new Image();
    image.src = address(picture);
    return image.decode().catch(() => undefined);
  };

  const focused = () => {
    const at = document.activeElement;
    if (!at || !at.closest("main")) return null;
    if (at.id) return "#" + CSS.escape(at.id);
    return at.hasAttribute("href") ? `a[href="${CSS.escape(at.getAttribute("href"))}"]` : null;
  };

  // What was chosen or typed in a form, and sentences that are said once, outlive a refresh.
  const typing = () => {
    const at = document.activeElement;
    return at && at.closest("main") && at.matches("select, textarea, input:not([type=radio])");
  };

  const keep = (old, fresh) => {
    for (const each of old.querySelectorAll("input[type=radio]:checked, select")) {
      const same = each.id && fresh.querySelector("#" + CSS.escape(each.id));
      if (!same || (same.type === "radio" && same.value !== each.value)) continue;
      if (same.type === "radio") same.checked = true;
      else if ([...same.options].some((option) => option.value === each.value)) same.value = each.value;
    }
    const bar = fresh.querySelector(".bar");
    if (bar) bar.after(...[...old.querySelectorAll(".said-once")].filter(() => !fresh.querySelector(".said-once")));
  };

  // Replace the content by that of the same page now; keep focus, place and what is loaded.
  const refresh = async () => {
    const answer = await fetch(location.href, { headers: { Accept: "text/html", "Kcms-Refresh": "1" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("main");
    if (!fresh) return;
    const old = document.getElementById("main");
    const inView = [...old.querySelectorAll("picture")].map((each) => {
      const box = each.getBoundingClientRect();
      return box.bottom > 0 && box.top < innerHeight;
    });
    const seen = [...fresh.querySelectorAll("picture")].filter((_, at) => inView[at]);
    await Promise.all(seen.map(loaded));
    for (const picture of seen) picture.querySelector("img").loading = "eager";
    const at = focused();
    keep(old, fresh);
    old.replaceWith(document.adoptNode(fresh));
    schedule(answer.status >= 500 ? seconds : Number(page.body.dataset.refresh || 0));
    const same = at && fresh.querySelector(at);
    if (same) same.focus({ preventScroll: true });
  };

  let paused = false;
  const pause = document.getElementById("pause");
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume refreshing" : "Pause refreshing";
  });

  // A page tells with each answer when it wants the next: soon while a job moves, or never more.
  let timer = 0;
  const schedule = (after) => {
    clearTimeout(timer);
    if (after) timer = setTimeout(() => turn(after), after * 1000);
  };
  const turn = async (after) => {
    schedule(after);
    if (!paused && !document.hidden && !typing()) await refresh().catch(() => undefined);
  };
  schedule(seconds);
})();
