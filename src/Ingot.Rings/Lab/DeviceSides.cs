using System.Runtime.ExceptionServices;
using Ingot.Linux;

namespace Ingot.Rings.Lab;

/// <summary>Starts the device's side as a process.</summary>
public interface IDeviceProcess
{
    /// <summary>Starts a process that calls <see cref="LabRun.RunDevice"/>.</summary>
    /// <param name="settings">To be handed on.</param>
    /// <param name="memory">To be inherited.</param>
    /// <param name="kick">To be inherited.</param>
    /// <param name="call">To be inherited.</param>
    /// <returns>The process.</returns>
    IDeviceSide Start(LabSettings settings, FileDescriptor memory, FileDescriptor kick, FileDescriptor call);
}

/// <summary>The device's side while it runs. Disposing waits for its end; the control block has told it to stop.</summary>
public interface IDeviceSide : IDisposable
{
    /// <summary>True when it runs no longer.</summary>
    bool HasEnded { get; }

    /// <summary>Waits for its end.</summary>
    /// <exception cref="ErrnoException">It failed.</exception>
    void Join();
}

/// <summary>The device's side as a thread.</summary>
internal sealed class DeviceThread : IDeviceSide
{
    private readonly Thread _thread;
    private ExceptionDispatchInfo? _failure;

    public DeviceThread(Action run)
    {
        _thread = new Thread(() => Guard(run)) { IsBackground = true, Name = "rings-device" };
        _thread.Start();
    }

    public bool HasEnded => !_thread.IsAlive;

    public void Join()
    {
        _thread.Join();
        _failure?.Throw();
    }

    public void Dispose() => _thread.Join();

    // What fails on this thread is for the one that joins it.
    private void Guard(Action run)
    {
        try
        {
            run();
        }
        catch (Exception e)
        {
            _failure = ExceptionDispatchInfo.Capture(e);
        }
    }
}
