#include "examples/shop/report.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace shop {
namespace {

constexpr double kBucket = 0.5;       // Seconds a point of a plot.
constexpr double kTrafficBucket = 1;  // The same where calls are counted.

// Colours are set once for light and once for dark; the plots refer to them.
constexpr char kStyle[] = R"(
:root { color-scheme: light dark;
  --paper: #fbfaf8; --card: #ffffff; --ink: #1d2430; --soft: #5d6675;
  --line: #e3e0da; --fault: #8a6d3b1c; --bare: #cf5c1e; --mesh: #0b7a75; --bad: #c0262d;
  --e1: #4a6fa5; --e2: #e0a23c; --e3: #7fb8a4; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171c; --card: #1b1f26; --ink: #e7eaef; --soft: #9aa4b2;
  --line: #2d333d; --fault: #e8c98522; --bare: #ff9a5c; --mesh: #45d0c2; --bad: #ff7b7b;
  --e1: #6f9bd8; --e2: #e8b458; --e3: #6fbfa4; } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
main { max-width: 1080px; margin: 0 auto; padding: 48px 24px 64px }
h1 { font-size: 34px; line-height: 1.2; letter-spacing: -.015em; margin: 0 }
h2 { font-size: 20px; margin: 44px 0 4px }
p { max-width: 46em; margin: 8px 0; color: var(--soft) }
p.lede { font-size: 18px; color: var(--ink); margin: 12px 0 0 }
.bare { color: var(--bare) } .mesh { color: var(--mesh) }
.tiles { display: grid; gap: 16px; margin: 28px 0 0;
  grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)) }
.tile, figure, .scroll, details { background: var(--card);
  border: 1px solid var(--line); border-radius: 10px }
.tile { padding: 16px 18px }
.tile h3 { margin: 0 0 8px; font-size: 14px; font-weight: 600;
  color: var(--soft) }
.tile div { display: flex; align-items: baseline; gap: 10px }
.tile b { font-size: 30px; line-height: 1.25; font-weight: 650;
  font-variant-numeric: tabular-nums }
.tile span { font-size: 14px; color: var(--soft) }
figure { margin: 14px 0 0; padding: 14px 16px 8px }
figcaption { font-size: 15px; font-weight: 600; margin-bottom: 4px }
figcaption small { font-weight: 400; color: var(--soft); font-size: 13.5px }
.key { float: right; font-weight: 600; font-size: 14px }
.key i { display: inline-block; width: 18px; height: 3px; margin: 0 6px 4px 14px;
  border-radius: 2px; background: currentColor }
.pair { display: grid; gap: 14px; grid-template-columns: 1fr 1fr }
@media (max-width: 760px) { .pair { grid-template-columns: 1fr } }
svg { display: block; width: 100%; height: auto; overflow: visible }
svg text { font: 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  fill: var(--soft) }
svg .grid { stroke: var(--line); stroke-width: 1 }
svg .fault { fill: var(--fault) }
svg .line { fill: none; stroke-width: 2.2; stroke-linejoin: round;
  stroke: currentColor }
svg .thin { stroke-width: 1.3; stroke-dasharray: 4 3; opacity: .85 }
svg .mark { stroke: var(--bad); stroke-width: 2; stroke-dasharray: 2 2 }
svg .notch { stroke: currentColor; stroke-width: 2 }
svg .dot { fill: currentColor }
svg .probe { fill: transparent }
svg .probe:hover { fill: var(--fault) }
.scroll { overflow-x: auto; margin-top: 14px }
table { border-collapse: collapse; width: 100%; font-size: 14.5px;
  font-variant-numeric: tabular-nums }
th, td { padding: 9px 8px; text-align: right; vertical-align: top;
  white-space: nowrap; border-top: 1px solid var(--line) }
thead th { border-top: 0; font-weight: 600; color: var(--soft);
  font-size: 13.5px }
th:first-child { text-align: left; font-weight: 600; white-space: normal;
  min-width: 270px; padding-left: 18px }
th:last-child, td:last-child { padding-right: 18px }
th small { display: block; font-weight: 400; color: var(--soft);
  line-height: 1.4; margin-top: 2px }
thead .mesh, thead .bare { text-align: left; font-size: 15px }
.first { border-left: 1px solid var(--line); padding-left: 16px }
.bad { font-weight: 700; color: var(--bad) }
details { margin-top: 14px; padding: 10px 16px }
summary { cursor: pointer; font-weight: 600 }
pre { overflow-x: auto; font-size: 13px; line-height: 1.45 }
)";

std::string Escape(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

// 13320 as "13,320".
std::string Grouped(uint64_t number) {
  std::string digits = absl::StrCat(number);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(at, ",");
  }
  return digits;
}

// The frame of a plot over the time of a run: where its axes are, and what all
// plots have in common.
class Plot {
 public:
  // A point of a line is `bucket` seconds wide. Faults that hit only services
  // other than `service` are left out; "" shows all.
  Plot(const std::vector<Phase>& phases, double width, double height,
       double bucket, const std::string& service)
      : phases_(phases),
        width_(width),
        height_(height),
        bucket_(bucket),
        seconds_(phases.back().end) {
    for (const Phase& phase : phases) {
      const bool fault = phase.fault_to > phase.fault_from;
      const bool here =
          service.empty() || phase.service.empty() || phase.service == service;
      if (fault && here) {
        absl::StrAppendFormat(
            &body_,
            "<rect class='fault' x='%.1f' y='%.1f' width='%.1f' "
            "height='%.1f'><title>%s</title></rect>",
            X(phase.fault_from), kTop, X(phase.fault_to) - X(phase.fault_from),
            height_ - kBottom - kTop, Escape(phase.title));
      }
      if (service.empty() || (fault && here)) {
        Text((X(phase.begin) + X(phase.end)) / 2, kTop - 9, "middle",
             phase.label);
      }
    }
    for (int second = 0; second <= seconds_ - 1; second += 5) {
      Text(X(second), height_ - 4, "middle", absl::StrCat(second, " s"));
    }
  }

  double X(double time) const {
    return kLeft + time / seconds_ * (width_ - kLeft - kRight);
  }
  // `part` in [0, 1], from the bottom.
  double Y(double part) const {
    return height_ - kBottom - part * (height_ - kBottom - kTop);
  }

  void Text(double x, double y, const char* anchor, const std::string& text,
            const char* style = "") {
    absl::StrAppendFormat(
        &body_, "<text x='%.1f' y='%.1f' text-anchor='%s' style='%s'>%s</text>",
        x, y, anchor, style, Escape(text));
  }

  // A horizontal line with its value.
  void Tick(double part, const std::string& text) {
    absl::StrAppendFormat(
        &body_, "<line class='grid' x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f'/>",
        X(0), X(seconds_), Y(part), Y(part));
    Text(kLeft - 8, Y(part) + 4, "end", text);
  }

  // A line through `parts`, one a bucket, in the colour of `arm`.
  void Line(const std::string& arm, const char* style,
            const std::vector<double>& parts) {
    std::string points;
    for (size_t i = 0; i < parts.size(); ++i) {
      absl::StrAppendFormat(&points, "%.1f,%.1f ", X((i + 0.5) * bucket_),
                            Y(parts[i]));
    }
    absl::StrAppendFormat(&body_, "<polyline class='%s line %s' points='%s'/>",
                          arm, style, points);
  }

  // The area between two rows of parts.
  void Area(const std::string& fill, const std::vector<double>& low,
            const std::vector<double>& high, const std::string& title) {
    std::string points;
    for (size_t i = 0; i < high.size(); ++i) {
      absl::StrAppendFormat(&points, "%.1f,%.1f ", X((i + 0.5) * bucket_),
                            Y(high[i]));
    }
    for (size_t i = low.size(); i-- > 0;) {
      absl::StrAppendFormat(&points, "%.1f,%.1f ", X((i + 0.5) * bucket_),
                            Y(low[i]));
    }
    absl::StrAppendFormat(
        &body_, "<polygon fill='%s' points='%s'><title>%s</title></polygon>",
        fill, points, Escape(title));
  }

  // A vertical line with its name.
  void Mark(double time, const std::string& text) {
    absl::StrAppendFormat(&body_,
                          "<line class='mark' x1='%.1f' x2='%.1f' y1='%.1f' "
                          "y2='%.1f'><title>%.1f s: %s</title></line>",
                          X(time), X(time), kTop, height_ - kBottom, time,
                          Escape(text));
  }

  // A notch on the lower edge.
  void Notch(const std::string& arm, double time, const std::string& text) {
    absl::StrAppendFormat(
        &body_,
        "<line class='%s notch' x1='%.1f' x2='%.1f' y1='%.1f' "
        "y2='%.1f'><title>%.1f s: %s</title></line>",
        arm, X(time), X(time), Y(0) - 7, Y(0), time, Escape(text));
  }

  // What the pointer reads over each bucket.
  void Probes(size_t buckets, const std::function<std::string(size_t)>& text) {
    for (size_t i = 0; i < buckets; ++i) {
      absl::StrAppendFormat(
          &body_,
          "<rect class='probe' x='%.1f' y='%.1f' width='%.1f' height='%.1f'>"
          "<title>%.1f s: %s</title></rect>",
          X(i * bucket_), kTop, X(bucket_) - X(0), height_ - kBottom - kTop,
          i * bucket_, Escape(text(i)));
    }
  }

  std::string Svg(const std::string& label) const {
    return absl::StrFormat(
        "<svg viewBox='0 0 %.0f %.0f' role='img' aria-label='%s'>%s</svg>",
        width_, height_, Escape(label), body_);
  }

 private:
  static constexpr double kLeft = 52, kRight = 14, kTop = 28, kBottom = 24;

  const std::vector<Phase>& phases_;
  const double width_, height_, bucket_, seconds_;
  std::string body_;
};

// The idempotent calls of an arm, bucket by bucket.
std::vector<CallStats> Buckets(const ArmLog& log) {
  std::vector<CallStats> buckets;
  const double seconds = log.phases.back().end;
  for (double time = 0; time + kBucket <= seconds + 1e-9; time += kBucket) {
    buckets.push_back(StatsOf(log, Class::kIdempotent, time, time + kBucket));
  }
  return buckets;
}

std::string Key(const std::vector<ArmLog>& arms) {
  std::string key = "<span class='key'>";
  for (const ArmLog& log : arms) {
    absl::StrAppend(&key, "<span class='", log.arm, "'><i></i>", log.arm,
                    "</span>");
  }
  return key + "</span>";
}

std::string SuccessFigure(const std::vector<ArmLog>& arms,
                          const std::vector<std::vector<CallStats>>& buckets) {
  double worst = 1;
  for (const auto& arm : buckets) {
    for (const CallStats& stats : arm) worst = std::min(worst, stats.success());
  }
  // The axis ends at a round figure below the worst.
  const double step = worst < 0.7 ? 0.2 : worst < 0.9 ? 0.05 : 0.025;
  const double bottom = std::max(0.0, std::floor((worst - 0.01) / step) * step);
  auto part = [&](double value) { return (value - bottom) / (1 - bottom); };
  Plot plot(arms.front().phases, 1040, 250, kBucket, "");
  for (double value = 1; value > bottom - 1e-9; value -= step) {
    plot.Tick(part(value), absl::StrFormat("%.4g%%", value * 100));
  }
  for (size_t arm = 0; arm < arms.size(); ++arm) {
    std::vector<double> parts;
    for (const CallStats& stats : buckets[arm]) {
      parts.push_back(part(stats.success()));
    }
    plot.Line(arms[arm].arm, "", parts);
    for (const double time : arms[arm].rotations) {
      plot.Notch(arms[arm].arm, time, "all keys and certificates are new");
    }
  }
  plot.Probes(buckets.front().size(), [&](size_t i) {
    std::string text;
    for (size_t arm = 0; arm < arms.size(); ++arm) {
      const CallStats& stats = buckets[arm][i];
      absl::StrAppend(&text, arm == 0 ? "" : ", ", arms[arm].arm, " ",
                      FormatShare(stats.success()), " of ", stats.calls);
    }
    return text;
  });
  return absl::StrCat(
      "<figure><figcaption>", Key(arms),
      "Calls that succeed <small>share of the idempotent calls due in each "
      "half second; a notch: all certificates were rotated</small>"
      "</figcaption>",
      plot.Svg("success rate over time"), "</figure>");
}

std::string LatencyFigure(const std::vector<ArmLog>& arms,
                          const std::vector<std::vector<CallStats>>& buckets) {
  constexpr double kLowest = 2, kHighest = 2000;  // Milliseconds.
  auto part = [&](double ms) {
    return std::log(std::clamp(ms, kLowest, kHighest) / kLowest) /
           std::log(kHighest / kLowest);
  };
  Plot plot(arms.front().phases, 1040, 310, kBucket, "");
  for (double ms : {2., 5., 10., 20., 50., 100., 200., 500., 1000., 2000.}) {
    plot.Tick(part(ms), ms < 1000 ? absl::StrFormat("%.0f ms", ms)
                                  : absl::StrFormat("%.0f s", ms / 1000));
  }
  for (size_t arm = 0; arm < arms.size(); ++arm) {
    std::vector<double> p50, p99;
    for (const CallStats& stats : buckets[arm]) {
      p50.push_back(part(stats.p50_ms));
      p99.push_back(part(stats.p99_ms));
    }
    plot.Line(arms[arm].arm, "thin", p50);
    plot.Line(arms[arm].arm, "", p99);
  }
  plot.Probes(buckets.front().size(), [&](size_t i) {
    std::string text;
    for (size_t arm = 0; arm < arms.size(); ++arm) {
      const CallStats& stats = buckets[arm][i];
      absl::StrAppend(&text, arm == 0 ? "" : ", ", arms[arm].arm, " p50 ",
                      FormatMilliseconds(stats.p50_ms), " p99 ",
                      FormatMilliseconds(stats.p99_ms));
    }
    return text;
  });
  return absl::StrCat(
      "<figure><figcaption>", Key(arms),
      "Latency <small>p99 solid, p50 dashed, logarithmic; a failed call counts "
      "with the time it took</small></figcaption>",
      plot.Svg("latency over time"), "</figure>");
}

// Calls per second that came to each server of `service`, stacked.
std::string TrafficFigure(const ArmLog& log, const std::string& service,
                          double rate) {
  const size_t buckets =
      static_cast<size_t>(log.phases.back().end / kTrafficBucket + 1e-9);
  Plot plot(log.phases, 510, 180, kTrafficBucket, service);
  // One scale for both arms, so that they can be compared.
  const double step = rate <= 100 ? 25 : 100;
  const double highest = std::max(1.0, std::ceil(rate * 1.35 / step)) * step;
  for (double value = 0; value <= highest; value += step) {
    plot.Tick(value / highest, absl::StrFormat("%.0f/s", value));
  }
  std::vector<double> low(buckets, 0);
  int colour = 0;
  std::string names;
  for (size_t server = 0; server < log.servers.size(); ++server) {
    if (!absl::StartsWith(log.servers[server], service + "-")) continue;
    std::vector<double> high = low;
    for (size_t i = 0; i < buckets; ++i) {
      const double calls = ArrivedBy(log, server, (i + 1) * kTrafficBucket) -
                           ArrivedBy(log, server, i * kTrafficBucket);
      high[i] = std::min(1.0, low[i] + calls / kTrafficBucket / highest);
    }
    const std::string fill = absl::StrCat("var(--e", ++colour, ")");
    plot.Area(fill, low, high, log.servers[server]);
    absl::StrAppend(&names, "<span style='color:", fill, "'><i></i>",
                    log.servers[server], "</span>");
    low = high;
  }
  for (size_t i = 0; i < std::size(kServices); ++i) {
    if (service != kServices[i]) continue;
    for (size_t n = 1; n < log.samples.size(); ++n) {
      const Sample& before = log.samples[n - 1];
      const Sample& after = log.samples[n];
      if (i >= before.suspected.size() || i >= after.suspected.size()) break;
      if (after.suspected[i] > before.suspected[i]) {
        plot.Mark(after.time, "a server is silent and taken out of use");
      }
      if (after.ejected[i] > before.ejected[i]) {
        plot.Mark(after.time, "a server fails or is slow; taken out of use");
      }
    }
  }
  return absl::StrCat("<figure><figcaption><span class='key'>", names,
                      "</span><span class='", log.arm, "'>", log.arm,
                      "</span></figcaption>",
                      plot.Svg(absl::StrCat("traffic of the ", service,
                                            " servers over time, ", log.arm)),
                      "</figure>");
}

std::string Tile(const std::string& title, const std::vector<ArmLog>& arms,
                 const std::function<std::string(const ArmLog&)>& value) {
  std::string html = absl::StrCat("<div class='tile'><h3>", title, "</h3>");
  for (const ArmLog& log : arms) {
    absl::StrAppend(&html, "<div><b class='", log.arm, "'>", value(log),
                    "</b><span>", log.arm, "</span></div>");
  }
  return html + "</div>";
}

CallStats PhaseStats(const ArmLog& log, const std::string& id) {
  for (const Phase& phase : log.phases) {
    if (phase.id == id) {
      return StatsOf(log, Class::kIdempotent, phase.begin, phase.end);
    }
  }
  return {};
}

std::string PhaseTable(const std::vector<ArmLog>& arms) {
  std::string html = "<div class='scroll'><table><thead><tr><th></th>";
  for (const ArmLog& log : arms) {
    absl::StrAppend(&html, "<th colspan='5' class='first ", log.arm, "'>",
                    log.arm, "</th>");
  }
  html += "</tr><tr><th>idempotent calls</th>";
  for (size_t i = 0; i < arms.size(); ++i) {
    html +=
        "<th class='first'>success</th><th>failed</th><th>p50</th><th>p99</th>"
        "<th>retries</th>";
  }
  html += "</tr></thead><tbody>";
  auto row = [&](const std::string& title, const std::string& story,
                 double begin, double end) {
    absl::StrAppend(&html, "<tr><th>", Escape(title), "<small>", Escape(story),
                    "</small></th>");
    for (const ArmLog& log : arms) {
      const CallStats stats = StatsOf(log, Class::kIdempotent, begin, end);
      absl::StrAppend(&html, "<td class='first'>", FormatShare(stats.success()),
                      "</td><td", stats.failed > 0 ? " class='bad'" : "", ">",
                      Grouped(stats.failed), "</td><td>",
                      FormatMilliseconds(stats.p50_ms), "</td><td>",
                      FormatMilliseconds(stats.p99_ms), "</td><td>",
                      Grouped(RetriesOf(log, begin, end)), "</td>");
    }
    html += "</tr>";
  };
  for (const Phase& phase : arms.front().phases) {
    row(phase.title, phase.story, phase.begin, phase.end);
  }
  const double end = arms.front().phases.back().end;
  row("in all", "", 0, end);
  auto wide = [&](const std::string& title, const std::string& story,
                  const std::function<std::string(const ArmLog&)>& value) {
    absl::StrAppend(&html, "<tr><th>", title, "<small>", story,
                    "</small></th>");
    for (const ArmLog& log : arms) {
      absl::StrAppend(&html, "<td colspan='5' class='first'>", value(log),
                      "</td>");
    }
    html += "</tr>";
  };
  wide("charges",
       "Calls that must not be done twice. One that a server refused may have "
       "been made, for all a client knows, so it fails.",
       [&](const ArmLog& log) {
         const CallStats stats = StatsOf(log, Class::kOnce, 0, end);
         return absl::StrCat(Grouped(stats.failed), " failed of ",
                             Grouped(stats.calls), ", ", log.charged_twice,
                             " made twice");
       });
  wide("rotations",
       "All keys and certificates are replaced every 2 s, and the authority by "
       "every third time. A call counts as lost for that if it failed and no "
       "fault hit its service then. bare's certificates stay.",
       [&](const ArmLog& log) {
         if (log.rotations.empty()) return std::string("none");
         return absl::StrCat(Grouped(log.rotations.size()), ", and ",
                             Grouped(log.withdrawn_authorities),
                             " authorities withdrawn; ",
                             Grouped(UnexplainedOf(log)), " calls lost for it");
       });
  wide("servers taken out of use",
       "Because they were silent, or because they failed or were slow against "
       "the others. gRPC's round robin has nothing of the kind.",
       [&](const ArmLog& log) {
         const HealthStats health = HealthOf(log, 0, end + 1);
         return health.suspected + health.ejected == 0
                    ? std::string("never")
                    : absl::StrCat(Grouped(health.suspected), " silent, ",
                                   Grouped(health.ejected), " failing or slow");
       });
  wide("streams",
       "Server-, client- and bidirectional streaming. Both try a stream again "
       "until the first message of its answer.",
       [&](const ArmLog& log) {
         const CallStats stats = StatsOf(log, Class::kStream, 0, end);
         return absl::StrCat(Grouped(stats.failed), " failed of ",
                             Grouped(stats.calls));
       });
  return html + "</tbody></table></div>";
}

}  // namespace

std::string ReportHtml(const std::vector<ArmLog>& arms, double rate,
                       const std::string& service_config,
                       const std::string& mesh_yaml,
                       const std::string& server_yaml) {
  const double seconds = arms.front().phases.back().end;
  std::vector<std::vector<CallStats>> buckets;
  for (const ArmLog& log : arms) buckets.push_back(Buckets(log));

  std::string html = absl::StrCat(
      "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
      "<meta name='viewport' content='width=device-width, initial-scale=1'>"
      "<title>mesh demo</title><style>",
      kStyle, "</style></head><body><main>",
      "<h1>One shop, the same faults, twice</h1><p class='lede'>");
  absl::StrAppendFormat(
      &html,
      "%.0f calls per second for %.0f s over an online shop of nine processes, "
      "first with <b class='bare'>bare</b> gRPC channels (round robin, up to "
      "four attempts), then with <b class='mesh'>mesh</b>. The stubs and the "
      "code that calls them are the same, and both call with mTLS.</p>"
      "<div class='tiles'>",
      rate, seconds);
  html += Tile("failed idempotent calls", arms, [&](const ArmLog& log) {
    return Grouped(StatsOf(log, Class::kIdempotent, 0, seconds).failed);
  });
  html += Tile("p99 while a cart hangs", arms, [](const ArmLog& log) {
    return FormatMilliseconds(PhaseStats(log, "stop").p99_ms);
  });
  html += Tile("traffic at the slow catalog", arms, [](const ArmLog& log) {
    return absl::StrFormat("%.1f%%", SlowShareOf(log) * 100);
  });
  html += Tile("charges made twice", arms,
               [](const ArmLog& log) { return Grouped(log.charged_twice); });
  absl::StrAppend(
      &html, "</div><h2>What the visitors saw</h2>",
      "<p>A shaded stretch is a fault while it lasts. Point at a plot for its "
      "figures.</p>",
      SuccessFigure(arms, buckets), LatencyFigure(arms, buckets),
      "<h2>Where the calls went</h2><p>Calls that came to each server, "
      "retries too, stacked, as the servers counted them. A dashed line: mesh "
      "takes a server out of use.</p>");
  for (const char* service : {"cart", "catalog", "payment"}) {
    double calls = 0;
    for (size_t i = 0; i < arms.front().servers.size(); ++i) {
      if (absl::StartsWith(arms.front().servers[i],
                           absl::StrCat(service, "-"))) {
        calls += ArrivedBy(arms.front(), i, seconds);
      }
    }
    html += "<div class='pair'>";
    for (const ArmLog& log : arms) {
      html += TrafficFigure(log, service, calls / seconds);
    }
    html += "</div>";
  }
  absl::StrAppend(
      &html, "<h2>Phase by phase</h2>", PhaseTable(arms),
      "<h2>How it was measured</h2><p>Calls are due at a fixed rate whatever "
      "becomes of those before them, and latency counts from when a call was "
      "due. Each has a deadline of 1 s. The load generator itself makes no "
      "retries. bare's retries are those that the servers saw, for gRPC does "
      "not count them; mesh's are those that it counts.</p>"
      "<p>The frontend and the servers behind it verify each other. bare reads "
      "its certificates once, and they hold for the whole run: that is gRPC's "
      "best case. mesh's are replaced under the load.</p>",
      "<details><summary>bare: gRPC service config</summary><pre>",
      Escape(service_config),
      "</pre></details><details><summary>mesh: mesh.yaml</summary><pre>",
      Escape(mesh_yaml),
      "</pre></details><details><summary>mesh: server.yaml of each "
      "server</summary><pre>",
      Escape(server_yaml), "</pre></details></main></body></html>\n");
  return html;
}

}  // namespace shop
