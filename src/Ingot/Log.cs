using Microsoft.Extensions.Logging;

namespace Ingot;

/// <summary>Everything that the library logs.</summary>
internal static partial class Log
{
    [LoggerMessage(1, LogLevel.Debug, "Opened {Device} with driver {Driver}, {Length} bytes, read-only {ReadOnly}")]
    internal static partial void Opened(ILogger logger, string device, string driver, long length, bool readOnly);

    [LoggerMessage(2, LogLevel.Debug, "Closed {Device}")]
    internal static partial void Closed(ILogger logger, string device);

    [LoggerMessage(3, LogLevel.Warning, "{Message}")]
    internal static partial void Warning(ILogger logger, string message);

    [LoggerMessage(4, LogLevel.Information, "{Device} is connected again")]
    internal static partial void Reconnected(ILogger logger, string device);

    [LoggerMessage(5, LogLevel.Debug, "A request to {Device} failed")]
    internal static partial void RequestFailed(ILogger logger, Exception error, string device);

    [LoggerMessage(6, LogLevel.Information, "Serving {Device} on {Socket}")]
    internal static partial void Serving(ILogger logger, string device, string socket);

    [LoggerMessage(7, LogLevel.Information, "Stopped serving on {Socket}")]
    internal static partial void StoppedServing(ILogger logger, string socket);
}
