namespace Ingot.Rings.Lab;

/// <summary>What one run measured.</summary>
/// <param name="Requests">Requests measured.</param>
/// <param name="WallNanoseconds">From the first to the last answer.</param>
/// <param name="DriverCpuNanoseconds">CPU of the side that asks.</param>
/// <param name="DeviceCpuNanoseconds">CPU of the side that answers.</param>
public sealed record LabResult(long Requests, long WallNanoseconds, long DriverCpuNanoseconds, long DeviceCpuNanoseconds)
{
    /// <summary>Nanoseconds a request.</summary>
    public double NanosecondsPerRequest => (double)WallNanoseconds / Requests;

    /// <summary>Nanoseconds of CPU a request that the driver's side used.</summary>
    public double DriverCpu => (double)DriverCpuNanoseconds / Requests;

    /// <summary>Nanoseconds of CPU a request that the device's side used.</summary>
    public double DeviceCpu => (double)DeviceCpuNanoseconds / Requests;
}
