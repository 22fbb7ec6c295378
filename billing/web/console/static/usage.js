// Has the picture of a page zoomed into: the same figures by the minute, from the API, when one asks for it.
"use strict";

(() => {
  const figure = document.querySelector("figure.zoom");
  if (!figure || !window.uPlot) return;
  const picture = figure.querySelector(".scroll");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Zoom in";
  const says = document.createElement("p");
  says.className = "dim";
  says.setAttribute("role", "status");
  picture.after(button, says);
  let box;
  let zoomed = false;
  button.addEventListener("click", async () => {
    if (!box) {
      button.disabled = true;
      box = await draw(figure, says);
      button.disabled = false;
      if (!box) return;
      picture.before(box);
    }
    zoomed = !zoomed;
    button.textContent = zoomed ? "Back to the picture" : "Zoom in";
    picture.hidden = zoomed;
    box.hidden = !zoomed;
    says.textContent = zoomed ? "By the minute: drag over a stretch to zoom into it, click twice to see all." : "";
  });
})();

// draw asks for the figures and draws them; nothing where they cannot be had.
async function draw(figure, says) {
  const answer = await fetch(figure.dataset.src, { headers: { Accept: "application/json" } }).catch(() => null);
  if (!answer || !answer.ok) {
    says.textContent = "The figures cannot be had now. Try again in a minute.";
    return null;
  }
  const { series: [{ points, peak }] } = await answer.json();
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const inZone = (options) => {
    const format = new Intl.DateTimeFormat("en-GB", { timeZone: figure.dataset.zone, ...options });
    return (seconds) => format.format(new Date(seconds * 1000));
  };
  const clock = inZone({ hour: "2-digit", minute: "2-digit" });
  const day = inZone({ day: "numeric", month: "short" });

  const hatch = document.createElement("canvas");
  hatch.width = hatch.height = 8;
  const pen = hatch.getContext("2d");
  pen.strokeStyle = colour("--excess");
  pen.lineWidth = 2;
  for (const x of [-8, 0, 8]) {
    pen.moveTo(x, 8);
    pen.lineTo(x + 8, 0);
  }
  pen.stroke();

  // flag marks the peak, as the picture does.
  const flag = (plot) => {
    if (!peak) return;
    const at = Date.parse(peak.at) / 1000;
    if (at < plot.scales.x.min || at > plot.scales.x.max) return;
    const [x, y] = [plot.valToPos(at, "x", true), plot.valToPos(peak.live, "y", true)];
    plot.ctx.beginPath();
    plot.ctx.arc(x, y, 4 * devicePixelRatio, 0, 7);
    plot.ctx.strokeStyle = colour("--excess");
    plot.ctx.lineWidth = 1.5 * devicePixelRatio;
    plot.ctx.stroke();
    plot.ctx.fillStyle = colour("--ink");
    plot.ctx.textAlign = x > plot.bbox.left + plot.bbox.width * 0.6 ? "right" : "left";
    plot.ctx.fillText(`peak: ${peak.live} of ${peak.pool} at ${clock(at)}`,
      x + (plot.ctx.textAlign === "left" ? 9 : -9) * devicePixelRatio, y - 8 * devicePixelRatio);
  };

  const box = document.createElement("div");
  const stepped = uPlot.paths.stepped({ align: 1 });
  const grid = { stroke: colour("--grid"), width: 1 };
  const size = () => ({ width: Math.max(figure.clientWidth, 280), height: 340 });
  const line = (label, name, more) => ({ label, stroke: colour(name), width: 1.5, paths: stepped,
    points: { show: false }, ...more });
  const plot = new uPlot({
    ...size(),
    scales: { y: { range: (_, low, high) => [0, Math.max(high, 1) * 1.1] } },
    axes: [
      { stroke: colour("--dim"), grid, ticks: grid,
        values: (_, at) => at.map((seconds, i) =>
          (at.length > 1 && at[1] - at[0] >= 86400 ? day(seconds) : i === 0 || day(seconds) !== day(at[i - 1])
            ? `${clock(seconds)}\n${day(seconds)}` : clock(seconds))) },
      { stroke: colour("--dim"), grid, ticks: grid, size: 44 },
    ],
    series: [
      { label: "Time", value: (_, seconds) => (seconds == null ? "–" : `${day(seconds)} ${clock(seconds)}`) },
      line("Live", "--s1"),
      line("Pool", "--pool", { dash: [6, 3] }),
      line("Over the pool", "--excess", { width: 0 }),
    ],
    bands: [{ series: [3, 2], fill: () => plot.ctx.createPattern(hatch, "repeat") }],
    hooks: { draw: [flag] },
  }, [
    points.map((point) => point[0] / 1000),
    points.map((point) => point[1]),
    points.map((point) => point[2]),
    points.map((point) => (point[1] > point[2] ? point[1] : null)),
  ], box);
  new ResizeObserver(() => box.hidden || plot.setSize(size())).observe(figure);
  return box;
}
