using System.Runtime.InteropServices;

namespace Ingot.Linux;

public static unsafe partial class Libc
{
    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long syscallKeyctl(long number, nint operation, nint key, void* buffer, nuint length, nint unused);

    /// <summary>Reads a key of the kernel's key rings, see keyctl_read(3).</summary>
    /// <param name="serial">Its serial number.</param>
    /// <param name="errno">Why it can't be read.</param>
    /// <returns>The payload, or null.</returns>
    public static byte[]? TryReadKey(int serial, out Errno errno)
    {
        const int KEYCTL_READ = 11;
        long number = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 219 : 250;
        byte[] payload = [];
        while (true)
        {
            long length;

            // SAFETY: the pin holds for the call, which writes no more than the array's length.
            fixed (byte* buffer = payload)
            {
                length = syscallKeyctl(number, KEYCTL_READ, serial, buffer, (nuint)payload.Length, 0);
            }

            if (length < 0)
            {
                errno = (Errno)Marshal.GetLastPInvokeError();
                return null;
            }

            if (length <= payload.Length)
            {
                errno = Errno.None;
                return payload[..(int)length];
            }

            payload = new byte[length]; // another process may make the key longer meanwhile
        }
    }
}
