// What pages do besides, where scripts run: none of them needs this.
"use strict";

// A key goes to the field that says so.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  const field = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!field) return;
  event.preventDefault();
  field.focus();
});

// The box in the head of a table ticks all of a column.
for (const all of document.querySelectorAll("input[data-ticks]")) {
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of all.form.querySelectorAll(`input[name="${all.dataset.ticks}"]`)) box.checked = all.checked;
  });
}

// What scrolls by itself and has nothing to go to can be gone to, so that keys scroll it.
for (const box of document.querySelectorAll(".scroll:not([tabindex])")) {
  if (box.scrollWidth > box.clientWidth && !box.querySelector("a, button, input, select, textarea")) box.tabIndex = 0;
}
