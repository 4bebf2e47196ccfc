using Ingot.Linux;

namespace Ingot.Drivers.Qcow2;

/// <summary>A dirty bitmap could not be stored. It stays marked in use, so that nobody takes what is stored of it for the truth.</summary>
internal sealed class BitmapStoreException(Errno errno, string message, Exception reason) : ErrnoException(errno, message, reason);
