using System.Runtime.InteropServices;

namespace Ingot.Linux;

/// <summary>A failure that has an error number: thrown by whoever sees it first, turned into a status by exports.</summary>
public class ErrnoException : IOException
{
    /// <summary>Creates the exception with a message that already names what failed.</summary>
    /// <param name="errno">The kernel's error number.</param>
    /// <param name="message">A whole sentence without a full stop; the text of the error number is not added.</param>
    public ErrnoException(Errno errno, string message)
        : base(message)
    {
        Errno = errno;
        HResult = (int)errno;
    }

    /// <summary>Creates the exception with a message and the failure that led to it.</summary>
    /// <param name="errno">The kernel's error number.</param>
    /// <param name="message">What failed.</param>
    /// <param name="inner">The cause.</param>
    public ErrnoException(Errno errno, string message, Exception inner)
        : base(message, inner)
    {
        Errno = errno;
        HResult = (int)errno;
    }

    /// <summary>The kernel's error number.</summary>
    public Errno Errno { get; }

    /// <summary>The text of an error number as strerror(3) gives it.</summary>
    /// <param name="errno">The error number.</param>
    /// <returns>For example "No such file or directory".</returns>
    public static string Text(Errno errno) => Marshal.GetPInvokeErrorMessage((int)errno);

    /// <summary>The error number behind an exception of the runtime's file classes.</summary>
    /// <param name="exception">An IOException or UnauthorizedAccessException.</param>
    /// <returns>EIO when there is none.</returns>
    public static Errno NumberOf(Exception exception) => exception switch
    {
        ErrnoException e => e.Errno,
        FileNotFoundException or DirectoryNotFoundException => Errno.ENOENT,
        UnauthorizedAccessException => Errno.EACCES,
        _ => exception.HResult is > 0 and < 4096 ? (Errno)exception.HResult : Errno.EIO,
    };

    /// <summary>Builds "<paramref name="what"/>: text of the error" for a failed call.</summary>
    /// <param name="errno">The error number.</param>
    /// <param name="what">What was tried, naming the object: "Could not open 'disk.raw'".</param>
    /// <returns>The exception to throw.</returns>
    public static ErrnoException For(Errno errno, string what) => new(errno, $"{what}: {Text(errno)}");

    /// <summary>The same for the calling thread's last error, as left by a call marked SetLastError.</summary>
    /// <param name="what">What was tried, naming the object.</param>
    /// <returns>The exception to throw.</returns>
    public static ErrnoException ForLastError(string what) => For((Errno)Marshal.GetLastPInvokeError(), what);
}
