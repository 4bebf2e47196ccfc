using System.Diagnostics;
using Ingot.Linux;

namespace Ingot.Rings.Lab;

/// <summary>One run of a workload on a design. The driver's side runs on the calling thread.</summary>
public static class LabRun
{
    private const int WarmUpShare = 10;
    private const int Seed = 1;

    /// <summary>Runs, and measures.</summary>
    /// <param name="settings">The workload, and what runs it.</param>
    /// <param name="startDevice">With <see cref="LabSettings.Processes"/>: starts a process that calls <see cref="RunDevice"/>.</param>
    /// <returns>What was measured.</returns>
    /// <exception cref="ErrnoException">The settings are wrong, or the two sides don't agree on what was sent.</exception>
    public static LabResult Run(LabSettings settings, IDeviceProcess? startDevice = null)
    {
        settings.Check();
        using var memory = LabMemory.Create(settings);
        using var kick = new EventFd();
        using var call = new EventFd();
        ControlBlock control = memory.Control;
        var kickBell = new Doorbell(kick.Descriptor.Value);
        var loop = new DriverLoop(
            settings,
            control,
            memory.CreateDrivers(),
            new Workload(settings.Segments, settings.DataOffset, Seed),
            kickBell,
            new Doorbell(call.Descriptor.Value));
        using IDeviceSide device = settings.Processes
            ? (startDevice ?? throw new ArgumentNullException(nameof(startDevice))).Start(settings, memory.File, kick.Descriptor, call.Descriptor)
            : new DeviceThread(() => new DeviceLoop(settings, control, memory.CreateDevices(), new Doorbell(kick.Descriptor.Value), new Doorbell(call.Descriptor.Value)).Run());
        return Measure(settings, control, loop, device, kickBell);
    }

    /// <summary>The device's side of a run whose driver is another process.</summary>
    /// <param name="settings">As the other process has them.</param>
    /// <param name="memory">The memory file.</param>
    /// <param name="kick">The eventfd of the device.</param>
    /// <param name="call">The eventfd of the driver.</param>
    public static void RunDevice(LabSettings settings, FileDescriptor memory, FileDescriptor kick, FileDescriptor call)
    {
        settings.Check();
        using var shared = LabMemory.Open(memory, settings);
        new DeviceLoop(settings, shared.Control, shared.CreateDevices(), new Doorbell(kick.Value), new Doorbell(call.Value)).Run();
    }

    /// <summary>The same work without a ring and without another side: what the lab's own bookkeeping costs.</summary>
    /// <param name="settings">The workload.</param>
    /// <returns>What was measured.</returns>
    public static LabResult RunWithoutRing(LabSettings settings)
    {
        settings.Check();
        var workload = new Workload(settings.Segments, settings.DataOffset, Seed);
        var request = new DeviceRequest(settings.Segments);
        ulong sum = HandOver(workload, request, 0, settings.Requests / WarmUpShare);
        long cpu = ThreadClock.CpuNanoseconds;
        long start = WallNanoseconds;
        sum += HandOver(workload, request, 0, settings.Requests);
        long wall = WallNanoseconds - start;
        GC.KeepAlive(sum);
        return new LabResult(settings.Requests, wall, ThreadClock.CpuNanoseconds - cpu, 0);
    }

    private static long WallNanoseconds => (long)(Stopwatch.GetTimestamp() * (1e9 / Stopwatch.Frequency));

    private static LabResult Measure(LabSettings settings, ControlBlock control, DriverLoop loop, IDeviceSide device, Doorbell kick)
    {
        try
        {
            Advance(control, LabPhase.WarmUp, kick, device);
            loop.Run(Math.Max(settings.Requests / WarmUpShare, 1));
            Advance(control, LabPhase.Measuring, kick, device);
            long cpu = ThreadClock.CpuNanoseconds;
            long start = WallNanoseconds;
            loop.Run(settings.Requests);
            long wall = WallNanoseconds - start;
            cpu = ThreadClock.CpuNanoseconds - cpu;
            Advance(control, LabPhase.Done, kick, device);
            device.Join();
            return control.Taken == loop.Submitted && (ulong)control.Checksum == loop.Checksum
                ? new LabResult(settings.Requests, wall, cpu, control.DeviceCpu)
                : throw new ErrnoException(Errno.EIO, $"{settings.Design.Name}: the device read {control.Taken} requests with the checksum {control.Checksum:x}, sent were {loop.Submitted} with {loop.Checksum:x}");
        }
        catch
        {
            control.Phase = LabPhase.Done;
            kick.Ring();
            throw;
        }
    }

    private static void Advance(ControlBlock control, LabPhase phase, Doorbell kick, IDeviceSide device)
    {
        control.Phase = phase;
        kick.Ring();
        while (control.Seen != phase)
        {
            // Who has ended may have seen the last phase just before.
            if (control.Failed != 0 || (device.HasEnded && control.Seen != phase))
            {
                device.Join();
                throw new ErrnoException(Errno.EPIPE, "The device's side of the rings has given up");
            }

            Thread.Yield();
        }
    }

    private static ulong HandOver(Workload workload, DeviceRequest request, long first, long count)
    {
        ulong sum = 0;
        for (long i = first; i < first + count; i++)
        {
            request.Begin((ushort)i);
            request.Header = workload.Header(i);
            foreach (ref readonly Segment segment in workload.Segments(i))
            {
                request.TryAdd(segment);
            }

            sum += Workload.Checksum(request.Header, request.Segments);
        }

        return sum;
    }
}
