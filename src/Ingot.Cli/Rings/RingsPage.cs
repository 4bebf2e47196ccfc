using System.Net;
using System.Text;
using Ingot.Linux;
using Ingot.Rings.Lab;
using static System.FormattableString;

namespace Ingot.Cli;

/// <summary>What the ring lab measured, as one HTML page with plots and nothing to fetch.</summary>
internal static class RingsPage
{
    private const int LabelWidth = 230;
    private const int PlotWidth = 560;
    private const int RowHeight = 22;
    private const string Style =
        """
        body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:62em;padding:0 1em;color:#222;background:#fff}
        h2{font-size:1.05em;margin:2em 0 .5em}svg{display:block}text{font:13px system-ui,sans-serif;fill:#222}
        .bar{fill:#3b75af}.base{fill:#9aa5b1}.new{fill:#c8553d}.whisker{stroke:#222;stroke-width:1.5}
        table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin-top:.7em}td,th{padding:.15em .7em;text-align:right;border-bottom:1px solid #ddd}
        td:first-child,th:first-child{text-align:left}
        @media(prefers-color-scheme:dark){body{background:#161a1f;color:#ddd}text{fill:#ddd}.whisker{stroke:#ddd}td,th{border-color:#333}}
        """;

    public static void Write(string path, IReadOnlyList<IReadOnlyList<LabMeasurement>> series)
    {
        var page = new StringBuilder();
        page.Append($"<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Ingot ring lab</title>\n<style>{Style}</style>\n<h1>Ring lab</h1>\n");
        page.Append("<p>Nanoseconds a request, the median of all runs; the thin line goes from the fastest run to the slowest. Baselines are grey, VIRTIO with embedded headers is red.</p>\n");
        foreach (IReadOnlyList<LabMeasurement> rows in series)
        {
            page.Append($"<h2>{WebUtility.HtmlEncode(RingsReport.Describe(rows[0].Settings))}; {rows[0].Results.Count} runs of {rows[0].Settings.Requests} requests</h2>\n");
            Plot(page, rows);
            Table(page, rows);
        }

        try
        {
            File.WriteAllText(NativeText.HasEscapes(path) ? throw new IOException("the name is not valid UTF-8") : path, page.Append("</html>\n").ToString());
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw ErrnoException.For(ErrnoException.NumberOf(e), $"Could not write '{path}'");
        }
    }

    private static void Plot(StringBuilder page, IReadOnlyList<LabMeasurement> rows)
    {
        double most = rows.Max(r => r.Spread(x => x.NanosecondsPerRequest).Most);
        page.Append($"<svg width=\"{LabelWidth + PlotWidth + 70}\" height=\"{(rows.Count * RowHeight) + 4}\" role=\"img\">\n");
        for (int i = 0; i < rows.Count; i++)
        {
            Spread time = rows[i].Spread(x => x.NanosecondsPerRequest);
            double Place(double value) => LabelWidth + (value / most * PlotWidth);
            int top = i * RowHeight;
            int middle = top + (RowHeight / 2);
            page.Append(Invariant($"<text x=\"{LabelWidth - 8}\" y=\"{middle + 4}\" text-anchor=\"end\">{rows[i].Name}</text>"));
            page.Append(Invariant($"<rect class=\"{ClassOf(rows[i].Name)}\" x=\"{LabelWidth}\" y=\"{top + 3}\" width=\"{Place(time.Median) - LabelWidth:F1}\" height=\"{RowHeight - 6}\"/>"));
            page.Append(Invariant($"<line class=\"whisker\" x1=\"{Place(time.Least):F1}\" x2=\"{Place(time.Most):F1}\" y1=\"{middle}\" y2=\"{middle}\"/>"));
            page.Append(Invariant($"<text x=\"{Place(time.Most) + 6:F1}\" y=\"{middle + 4}\">{time.Median:F1}</text>\n"));
        }

        page.Append("</svg>\n");
    }

    private static void Table(StringBuilder page, IReadOnlyList<LabMeasurement> rows)
    {
        page.Append("<details><summary>Numbers</summary><table><tr><th>design</th><th>what it is</th><th>ns/request</th><th>M requests/s</th><th>driver CPU ns</th><th>device CPU ns</th><th>loads</th><th>stores</th><th>cache lines</th><th>lines moved</th></tr>\n");
        foreach (LabMeasurement row in rows)
        {
            Spread time = row.Spread(r => r.NanosecondsPerRequest);
            string accesses = row.Accesses is { } a
                ? Invariant($"<td>{a.Driver.Loads + a.Device.Loads:F2}</td><td>{a.Driver.Stores + a.Device.Stores:F2}</td><td>{a.Driver.Lines + a.Device.Lines:F2}</td><td>{a.Driver.Transfers + a.Device.Transfers:F2}</td>")
                : "<td></td><td></td><td></td><td></td>";
            page.Append(Invariant($"<tr><td>{row.Name}</td><td>{row.Title}</td><td>{time.Median:F1}</td><td>{1000 / time.Median:F2}</td><td>{row.Spread(r => r.DriverCpu).Median:F1}</td><td>{row.Spread(r => r.DeviceCpu).Median:F1}</td>{accesses}</tr>\n"));
        }

        page.Append("</table></details>\n");
    }

    private static string ClassOf(string name)
        => name is "none" or "plain" ? "base" : name.StartsWith("embedded", StringComparison.Ordinal) ? "new" : "bar";
}
