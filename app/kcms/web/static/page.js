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

  const focusedLink = () => {
    const at = document.activeElement;
    return at && at.closest("main") ? at.getAttribute("href") : null;
  };

  // Replace the content by that of the same page now; keep focus, place and what is loaded.
  const refresh = async () => {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
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
    const link = focusedLink();
    old.replaceWith(document.adoptNode(fresh));
    if (!link) return;
    const same = [...fresh.querySelectorAll("a")].find((each) => each.getAttribute("href") === link);
    if (same) same.focus({ preventScroll: true });
  };

  let paused = false;
  const pause = document.getElementById("pause");
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume refreshing" : "Pause refreshing";
  });

  setInterval(() => {
    if (!paused && !document.hidden) refresh().catch(() => undefined);
  }, seconds * 1000);
})();
