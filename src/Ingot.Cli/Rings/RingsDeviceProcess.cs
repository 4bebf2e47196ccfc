using System.Diagnostics;
using Ingot.Linux;
using Ingot.Rings.Lab;

namespace Ingot.Cli;

/// <summary>Starts this program once more, as the device's side of a ring.</summary>
internal sealed class RingsDeviceProcess : IDeviceProcess
{
    public IDeviceSide Start(LabSettings settings, FileDescriptor memory, FileDescriptor kick, FileDescriptor call)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardInput = true };

        // Not published, the program is an argument of the runtime.
        if (Path.GetFileNameWithoutExtension(start.FileName) == "dotnet")
        {
            start.ArgumentList.Add(Environment.GetCommandLineArgs()[0]);
        }

        foreach (string word in (string[])["rings", RingsDeviceCommand.Command.Name, "--workload", RingsDeviceCommand.Format(settings)])
        {
            start.ArgumentList.Add(word);
        }

        Inherit(start, "--memory", memory);
        Inherit(start, "--kick", kick);
        Inherit(start, "--call", call);
        return new Side(Process.Start(start)!);
    }

    // The descriptors lose their close-on-exec: nothing else is started while they are open.
    private static void Inherit(ProcessStartInfo start, string option, FileDescriptor descriptor)
    {
        if (Libc.fcntl(descriptor.Value, Libc.F_SETFD, 0) < 0)
        {
            throw ErrnoException.ForLastError($"Could not hand descriptor {descriptor.Value} on");
        }

        start.ArgumentList.Add(option);
        start.ArgumentList.Add($"{descriptor.Value}");
    }

    private sealed class Side(Process process) : IDeviceSide
    {
        public bool HasEnded => process.HasExited;

        public void Join()
        {
            process.WaitForExit();
            if (process.ExitCode != 0)
            {
                throw new ErrnoException(Errno.EPIPE, $"The process of the device's side ended with the status {process.ExitCode}");
            }
        }

        public void Dispose()
        {
            process.WaitForExit();
            process.Dispose();
        }
    }
}
