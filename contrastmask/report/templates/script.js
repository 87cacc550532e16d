// Opens the section that a link leads to; without this script a reader opens it by hand.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
    target.querySelector("summary").focus({ preventScroll: true });
  }
}
addEventListener("hashchange", openTarget);
openTarget();
// A second click on the same cell changes no address. After the browser's own jump, which takes the focus away.
addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#run-']");
  if (link && link.hash === location.hash) setTimeout(openTarget);
});
